"""How quickly XLA compiles: tests run tiny programs once each, and users run theirs for long.

The quick way takes a quarter of the time. What is about bits asks for the usual way.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version


def _has_fusion_emitters() -> bool:
    """Return whether this version knows the flag: a process ends at one that it does not know."""
    try:
        return version("jaxlib").startswith("0.10.")
    except PackageNotFoundError:
        return False


# Each with what it is by default.
_QUICKLY = {
    "xla_backend_optimization_level": (0, 3),
    "xla_llvm_disable_expensive_passes": (True, False),
}
if _has_fusion_emitters():
    _QUICKLY["xla_cpu_use_fusion_emitters"] = (False, True)

FLAGS = " ".join(f"--{name}={str(quick).lower()}" for name, (quick, _) in _QUICKLY.items())
USUAL = {name: usual for name, (_, usual) in _QUICKLY.items()}
"""Options of `jax.jit` that compile as without the flags."""


def environment(devices: int = 1, *, quickly: bool, **others: str) -> dict[str, str]:
    """Return the environment of a process that runs JAX on so many devices of the processor."""
    flags = f"{FLAGS if quickly else ''} --xla_force_host_platform_device_count={devices}"
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **others}
