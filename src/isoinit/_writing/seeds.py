"""The seed that values follow from: an integer, or one drawn from torch's generators."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from isoinit._system.packages import needs
from isoinit.errors import ArgumentError

if TYPE_CHECKING:
    import torch


def resolve_seed(seed: int | None) -> int:
    """Return the seed as an int; None takes one draw from torch's default generator.

    So `torch.manual_seed` governs what was not seeded otherwise.

    Raises:
        ArgumentError: if it is neither None nor an integer.
    """
    if seed is None:
        with needs("torch", "seed=None"):
            import torch
        return draw_seed(torch.default_generator)
    return as_whole(seed, "to draw one from torch's default generator")


def as_whole(seed: int, without: str) -> int:
    """Return a seed as an int.

    Args:
        seed: an integer of any type.
        without: what None would do, for the error.

    Raises:
        ArgumentError: if it is not an integer.
    """
    try:
        return operator.index(seed)
    except TypeError:
        raise ArgumentError(
            f"seed={seed!r} is a {type(seed).__name__}; expected an integer, or None {without}"
        ) from None


def offered_seed(seed: int | None) -> tuple[str, int]:
    """Return what ranks compare of their seeds, and the seed that this rank offers the others.

    Of ranks without a seed each draws one, so that their generators stay in step; see `agree`.

    Raises:
        ArgumentError: as `resolve_seed` does.
    """
    resolved = resolve_seed(seed)
    return str(None if seed is None else resolved), resolved


def draw_seed(generator: torch.Generator) -> int:
    """Return a 63-bit seed drawn from one of torch's generators."""
    import torch

    # The device is named, or torch.set_default_device would send the draw elsewhere.
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    return int(seed.item())
