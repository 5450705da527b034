"""Constant masks on scores: how many places they leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from isoinit._reading.graph import SUMS, ReplayError
from isoinit._reading.torch.constants import Constant
from isoinit._reading.torch.numbers import doubled
from isoinit._reading.torch.real import on_real_memory

HIDES = -20.0  # a score below leaves a weight of 2e-9


def share_left(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    known: Callable[[Any], Constant | None],
) -> float:
    """Return the share of places along the last axis that a constant mask leaves; 1 without one.

    It is the harmonic mean over rows, since the squares of n even weights sum to 1/n.

    Args:
        name: the plain name of the function.
        args: its positional arguments.
        kwargs: its other arguments.
        known: what is known of a tensor, if it is a constant.
    """
    try:
        shown = _shown(name, args, kwargs, known)
    except ReplayError:  # whoever replays the call says why
        return 1.0
    if shown is None:
        return 1.0
    with on_real_memory(draws=False):
        rows = doubled(shown).mean(-1)
        rows = rows[rows > 0]
        return float(1 / (1 / rows).mean()) if rows.numel() else 1.0


def _shown(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    known: Callable[[Any], Constant | None],
) -> torch.Tensor | None:
    """Return which places a mask leaves; None where there is no constant mask.

    Raises:
        ReplayError: if its values are not known.
    """
    if name in SUMS:
        added = next((c for arg in args if (c := known(arg)) is not None), None)
        return None if added is None else _above(added)
    if name == "scaled_dot_product_attention":
        mask = known(args[3] if len(args) > 3 else kwargs.get("attn_mask"))
        return None if mask is None else _above(mask)
    if name not in ("masked_fill", "where") or len(args) < 3:
        return None
    mask = known(args[1] if name == "masked_fill" else args[0])
    if mask is None or mask.tensor.dtype != torch.bool or mask.draw is not None:
        return None
    with on_real_memory(draws=False):
        if _hides(args[2], known):
            return ~mask.values if name == "masked_fill" else mask.values
        return ~mask.values if name == "where" and _hides(args[1], known) else None


def _above(constant: Constant) -> torch.Tensor | None:
    """Return where a mask that is added hides nothing; None of what is no mask."""
    if constant.tensor.dim() < 2 or constant.draw is not None or constant.number is not None:
        return None
    with on_real_memory(draws=False):
        values = constant.values
        shown = values if values.dtype == torch.bool else values > HIDES
        return None if bool(shown.all()) else shown


def _hides(filled: Any, known: Callable[[Any], Constant | None]) -> bool:
    """Return whether a number, or a constant of one number, hides the score that it replaces."""
    constant = known(filled)
    if constant is not None:
        number = constant.number
        return number is not None and float(number) < HIDES
    return isinstance(filled, (int, float)) and filled < HIDES
