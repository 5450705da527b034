"""Seeded numbers, and the rows of a step."""

from __future__ import annotations

import torch

HELD = 1_000_000  # the seed of what is held out; no step is as large


def seeded(seed: int) -> torch.Generator:
    """Return a generator of its own with this seed."""
    return torch.Generator().manual_seed(seed)


def rows(step: int, most: int, count: int) -> torch.Tensor:
    """Return `count` row numbers below `most`, the same for the same step, or all of them."""
    if count == most:
        return torch.arange(most)
    return torch.randint(most, (count,), generator=seeded(step))


def uniform(
    generator: torch.Generator, *shape: int, low: float = 0, high: float = 1
) -> torch.Tensor:
    """Return uniform numbers between `low` and `high`."""
    return low + (high - low) * torch.rand(*shape, generator=generator)


def standardized(x: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
    """Return columns with mean 0 and standard deviation 1, as measured on `known` rows."""
    known = x if known is None else known
    return (x - known.mean(0)) / (known.std(0) + 1e-6)
