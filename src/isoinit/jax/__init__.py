"""isoinit for JAX: the same plan, the same bits.

plan = isoinit.jax.plan(apply, params, x)     # any function of a pytree of parameters
plan = isoinit.jax.plan(nnx_module, x)        # Flax NNX, Equinox; Linen and Haiku with their variables
params = plan.fill(params, seed=0)            # a new tree: the same bits on any mesh
isoinit.jax.init(nnx_module, x, seed=0)       # plan and fill
health = isoinit.jax.check(nnx_module, x)     # the signal and the gradient, layer by layer
found = isoinit.jax.compare(nnx_module, x)    # many initializations, side by side
isoinit.jax.transfer(small, large, x)         # the optimizer of a large model from a small one
isoinit.jax.normal("w", (4, 3), seed=0)       # the same bits inside of jax.jit

Names are handed out on first use, so that importing this package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isoinit.jax.checkpoints import write_checkpoint
    from isoinit.jax.checks import check
    from isoinit.jax.comparisons import compare
    from isoinit.jax.rehearsal import exact_on
    from isoinit.jax.streams import normal, truncated_normal, uniform
    from isoinit.jax.transfers import transfer
    from isoinit.jax.verbs import init, plan

_ROOMS = {
    "checkpoints": "write_checkpoint",
    "checks": "check",
    "comparisons": "compare",
    "rehearsal": "exact_on",
    "streams": "normal truncated_normal uniform",
    "transfers": "transfer",
    "verbs": "init plan",
}
_HOMES = {name: f"isoinit.jax.{room}" for room, names in _ROOMS.items() for name in names.split()}

__all__ = [
    "check",
    "compare",
    "exact_on",
    "init",
    "normal",
    "plan",
    "transfer",
    "truncated_normal",
    "uniform",
    "write_checkpoint",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from isoinit._system.packages import needs

        if name not in _HOMES:
            raise AttributeError(f"module 'isoinit.jax' has no attribute {name!r}")
        with needs("jax", f"isoinit.jax.{name}"):
            value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return list(__all__)
