"""torch's, Python's and NumPy's random number generators: put back after a run, and seeded inside."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from isoinit._system.alone import alone


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put the generators back at the end; no other thread is inside such a block."""
    with alone():
        states = _states()
        try:
            yield
        finally:
            _restore(states)


def seed_generators(seed: int) -> None:
    """Seed the generators; whoever calls puts them back.

    `torch.manual_seed` does more: where no GPU is in use yet it leaves the seed for the first use, and
    the caller's own is lost, with nothing to put it back.
    """
    torch.default_generator.manual_seed(seed)
    if (module := _accelerator()) is not None:
        getattr(module, "manual_seed_all", module.manual_seed)(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # the legacy generator is the global one


def _states() -> dict[str, Any]:
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
    }
    if (module := _accelerator()) is not None:
        # Apple's has one generator, the others one for each device.
        name = "get_rng_state_all" if hasattr(module, "get_rng_state_all") else "get_rng_state"
        states["accelerator"] = getattr(module, name)()
    return states


def _restore(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    if "accelerator" in states:
        module = torch.get_device_module()
        getattr(module, "set_rng_state_all", module.set_rng_state)(states["accelerator"])


def _accelerator() -> Any:
    """Return torch's module of the accelerator in use (torch.cuda, torch.mps …); None without one."""
    try:
        device = torch.accelerator.current_accelerator()
    except RuntimeError:  # a build of torch 2.6 for accelerators, where there is none
        return None
    if device is None:
        return None
    module = torch.get_device_module(device)
    in_use = getattr(module, "is_initialized", module.is_available)  # torch.mps is always ready
    return module if in_use() and hasattr(module, "get_rng_state") else None
