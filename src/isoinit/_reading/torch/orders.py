"""Calls that give all elements of a tensor in another order, and the axes along which they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


def reordered(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """Return along which axes a call that keeps a tensor's shape changes the order of its elements.

    So do `flip` and `roll`, `pad` by as much on one side as it cuts off at the other, and rows that
    are looked up. () for all other calls, and where every element stays where it is.
    """
    rank = args[0].dim()
    if name in ("flip", "roll"):
        first = 1 if name == "flip" else 2
        dims = kwargs.get("dims", args[first] if len(args) > first else ())
        # flip(x, 0, 1) is flip(x, (0, 1)); a roll without axes is one of all numbers in a row
        dims = args[first:] if isinstance(dims, int) and name == "flip" and len(args) > 2 else dims
        dims = (dims,) if isinstance(dims, int) else tuple(dims) or tuple(range(rank))
    elif name == "pad":
        sides = kwargs.get("pad", args[1] if len(args) > 1 else ())
        dims = tuple(rank - 1 - i // 2 for i in range(0, len(sides), 2) if sides[i])
    elif name == "index_select":
        dims = (kwargs.get("dim", args[1] if len(args) > 1 else 0),)
    elif name == "getitem":
        dims = _looked_up(args[1])
    else:
        return ()
    return tuple(sorted({dim % rank for dim in dims}))


def _looked_up(index: Any) -> tuple[int, ...]:
    """Return the axis along which an index looks up rows, all others as they are."""
    parts = index if isinstance(index, tuple) else (index,)
    places = [i for i, part in enumerate(parts) if isinstance(part, (torch.Tensor, list))]
    others = [part for part in parts if not isinstance(part, (torch.Tensor, list))]
    whole = all(part is Ellipsis or part == slice(None) for part in others)
    if len(places) != 1 or not whole:
        return ()
    rows = torch.as_tensor(parts[places[0]])
    if rows.dtype == torch.bool or rows.dim() != 1:
        return ()
    before = any(part is Ellipsis for part in parts[: places[0]])
    return (places[0] - len(parts) if before else places[0],)
