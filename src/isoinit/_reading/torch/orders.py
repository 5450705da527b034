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
    if name == "flip":
        given = [kwargs["dims"]] if "dims" in kwargs else args[1:]
        dims = _numbers(given[0] if len(given) == 1 else given)  # flip(x, 0, 1) is flip(x, (0, 1))
    elif name == "roll":
        shifts = _numbers(kwargs.get("shifts", args[1] if len(args) > 1 else ()))
        dims = _numbers(kwargs.get("dims", args[2] if len(args) > 2 else ()))
        dims = dims or tuple(range(rank))  # without axes it is one of all numbers in a row
        dims = dims if any(shifts) else ()
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


def _numbers(given: int | Sequence[int]) -> tuple[int, ...]:
    return (given,) if isinstance(given, int) else tuple(given)


def _looked_up(index: Any) -> tuple[int, ...]:
    """Return the axis along which an index looks up rows, all others as they are."""
    parts = index if isinstance(index, tuple) else (index,)
    places = [i for i, part in enumerate(parts) if _are_rows(part)]
    others = [part for part in parts if not _are_rows(part)]
    if len(places) != 1 or any(part is not Ellipsis and part != slice(None) for part in others):
        return ()
    before = any(part is Ellipsis for part in parts[: places[0]])
    return (places[0] - len(parts) if before else places[0],)


def _are_rows(part: Any) -> bool:
    """Return whether a part of an index holds the numbers of rows, one behind the other."""
    if isinstance(part, torch.Tensor):
        return part.dim() == 1 and part.dtype != torch.bool
    return isinstance(part, list) and all(type(number) is int for number in part)
