"""What the arguments of `embedding` and `embedding_bag` say, those of `nn.functional` and of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from isoinit._reading.torch.calls import is_float

# The names of the arguments, in order: nn.functional's, and torch's own, whose table comes first.
ORDERS = {
    "embedding": "input weight padding_idx max_norm norm_type scale_grad_by_freq sparse",
    "embedding_bag": "input weight offsets max_norm norm_type scale_grad_by_freq mode sparse "
    "per_sample_weights include_last_offset padding_idx",
}
OWN_ORDERS = {
    "embedding": "weight input padding_idx scale_grad_by_freq sparse",
    "embedding_bag": "weight input offsets scale_grad_by_freq mode sparse per_sample_weights "
    "include_last_offset padding_idx",
}
MODES = ("sum", "mean", "max")  # by their numbers in torch


class Looking(NamedTuple):
    """One lookup.

    Attributes:
        table: the table.
        rows: the indices of the rows that are looked up.
        padding: the row that stays zero; None for no row.
        clip: the largest norm that a row may have, and which norm: 2 for the Euclidean one; None
            where rows are not clipped.
        pool: what makes one row of a bag of rows: "sum", "mean" or "max"; "" where nothing does.
        bag: how many rows a bag has, on average.
    """

    table: Any
    rows: Any
    padding: int | None
    clip: tuple[float, float] | None
    pool: str
    bag: int


def looking(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Looking:
    """Return what the arguments of `embedding` or `embedding_bag` say."""
    own = bool(args) and is_float(args[0])
    names = (OWN_ORDERS if own else ORDERS)[name].split()
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    table, rows = given.get("weight"), given.get("input", given.get("indices"))
    padding = given.get("padding_idx")
    if own and padding is not None and padding < 0:
        padding = None  # torch's own word for none
    limit = given.get("max_norm")
    clip = None if limit is None else (float(limit), float(given.get("norm_type", 2.0)))
    if name == "embedding":
        return Looking(table, rows, padding, clip, "", 1)
    mode = given.get("mode", 0 if own else "mean")
    pool = mode if isinstance(mode, str) else MODES[mode]
    return Looking(table, rows, padding, clip, pool, _bag(rows, given))


def _bag(rows: Any, given: Mapping[str, Any]) -> int:
    """How many rows are taken together: those of a row of indices, or from one offset to the next."""
    if rows.dim() == 2:
        return int(rows.shape[1])
    offsets = given.get("offsets")
    bags = 1 if offsets is None else len(offsets) - bool(given.get("include_last_offset"))
    return max(math.ceil(len(rows) / max(bags, 1)), 1)
