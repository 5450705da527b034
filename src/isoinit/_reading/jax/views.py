"""Primitives that rearrange: what they make of a view, and the axes that it then runs along."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from isoinit._reading.jax.held import Joined, Parameter, View, Weight, blank, viewed
from isoinit._reading.views import axes_along

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation

NEVER_COPIES = np.lib.NumpyVersion(np.__version__) >= "2.1.0"  # np.reshape takes copy=False


def _reshape(view: View, params: Mapping[str, Any]) -> list[View] | None:
    shape = tuple(int(size) for size in params["new_sizes"])
    try:
        return [_reshaped(view, shape)]
    except (AttributeError, ValueError):  # NumPy would copy it: it is no view any more
        return None


def _reshaped(view: View, shape: tuple[int, ...]) -> View:
    if NEVER_COPIES:
        made: View = np.reshape(view, shape, copy=False)
        return made
    found: View = view.view()
    found.shape = shape  # deprecated since NumPy 2.5
    return found


def _broadcast(view: View, params: Mapping[str, Any]) -> list[View]:
    shape = tuple(int(size) for size in params["shape"])
    dims = [int(axis) for axis in params["broadcast_dimensions"]]
    index = tuple(slice(None) if axis in dims else None for axis in range(len(shape)))
    return [np.broadcast_to(view[index], shape)]


def _slice(view: View, params: Mapping[str, Any]) -> list[View]:
    steps = params["strides"] or [1] * view.ndim
    ends = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
    return [view[tuple(slice(a, b, c) for a, b, c in ends)]]


def _split(view: View, params: Mapping[str, Any]) -> list[View]:
    cuts = np.cumsum([int(size) for size in params["sizes"]])[:-1]
    return list(np.split(view, cuts, int(params["axis"])))


def _unstack(view: View, params: Mapping[str, Any]) -> list[View]:
    moved = np.moveaxis(view, int(params["axis"]), 0)
    return [moved[index] for index in range(len(moved))]


VIEWS: dict[str, Callable[[View, Mapping[str, Any]], list[View] | None]] = {
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "split": _split,
    "unstack": _unstack,
    "transpose": lambda view, params: [view.transpose(params["permutation"])],
    "squeeze": lambda view, params: [np.squeeze(view, tuple(int(d) for d in params["dimensions"]))],
    "expand_dims": lambda view, params: [np.expand_dims(view, tuple(params["dimensions"]))],
    "rev": lambda view, params: [np.flip(view, tuple(params["dimensions"]))],
}


def viewed_by(eqn: Equation, weight: Weight) -> Sequence[Weight] | None:
    """Return the views of something that an equation makes; None where they are no views."""
    if isinstance(weight, Parameter):
        found = VIEWS[eqn.name](weight.view, eqn.params)
        return None if found is None else [viewed(weight, view) for view in found]
    if isinstance(weight, Joined):
        return _of_joined(eqn, weight)
    return None


def _of_joined(eqn: Equation, joined: Joined) -> Sequence[Weight] | None:
    """Return parameters side by side, rearranged, where each is by itself."""
    name, params, axis = eqn.name, eqn.params, joined.axis
    if name == "transpose":
        parts = [viewed(p, p.view.transpose(params["permutation"])) for p in joined.parts]
        return [Joined(tuple(parts), list(params["permutation"]).index(axis))]
    if name in ("reshape", "broadcast_in_dim", "expand_dims", "squeeze"):
        return _of_new_axes(eqn, joined)
    if name in ("slice", "split"):
        return _cut(eqn, joined)
    return None


def _of_new_axes(eqn: Equation, joined: Joined) -> Sequence[Weight] | None:
    """Return parameters side by side with axes of one element more or less, or broadcast."""
    old, new = joined.shape, eqn.shapes[0]
    if eqn.name == "broadcast_in_dim":
        axis = int(eqn.params["broadcast_dimensions"][joined.axis])
    elif [n for n in old if n > 1] == [n for n in new if n > 1] and old[joined.axis] > 1:
        rank = sum(n > 1 for n in old[: joined.axis])
        axis = [i for i, n in enumerate(new) if n > 1][rank]
    else:
        return None
    parts = []
    for part in joined.parts:
        shape = (*new[:axis], part.shape[joined.axis], *new[axis + 1 :])
        key = "shape" if eqn.name == "broadcast_in_dim" else "new_sizes"
        reader = VIEWS["broadcast_in_dim" if key == "shape" else "reshape"]
        found = reader(part.view, {**eqn.params, key: shape})
        if found is None:
            return None
        parts.append(viewed(part, found[0]))
    return [Joined(tuple(parts), axis)]


def _cut(eqn: Equation, joined: Joined) -> Sequence[Weight] | None:
    """Return the parts that a slice or a split takes, where it cuts between them."""
    sizes = [part.shape[joined.axis] for part in joined.parts]
    ends = np.cumsum([0, *sizes])
    params = eqn.params
    if eqn.name == "split":
        if int(params["axis"]) != joined.axis:
            return None
        cuts = np.cumsum([0, *[int(size) for size in params["sizes"]]])
    else:
        whole = all(
            (a, b, c) == (0, n, 1)
            for axis, (a, b, c, n) in enumerate(
                zip(
                    params["start_indices"],
                    params["limit_indices"],
                    params["strides"] or [1] * len(joined.shape),
                    joined.shape,
                    strict=True,
                )
            )
            if axis != joined.axis
        )
        if not whole or (params["strides"] or [1] * len(joined.shape))[joined.axis] != 1:
            return None
        cuts = np.array(
            [params["start_indices"][joined.axis], params["limit_indices"][joined.axis]]
        )
    if not set(cuts.tolist()) <= set(ends.tolist()):
        return None
    places = [int(np.flatnonzero(ends == cut)[0]) for cut in cuts]
    found: list[Weight] = []
    for first, last in pairwise(places):
        parts = joined.parts[first:last]
        found.append(parts[0] if len(parts) == 1 else Joined(parts, joined.axis))
    return found


def axes_of(eqn: Equation, shape: Sequence[int]) -> tuple[tuple[int, ...], ...] | None:
    """Return the axes of an input that each axis of a rearrangement runs along."""
    params, rank = eqn.params, len(eqn.shapes[0])
    if eqn.name == "broadcast_in_dim":
        dims = [int(axis) for axis in params["broadcast_dimensions"]]
        return tuple((dims.index(axis),) if axis in dims else () for axis in range(rank))
    if eqn.name == "squeeze":
        gone = {int(axis) % len(shape) for axis in params["dimensions"]}
        return tuple((axis,) for axis in range(len(shape)) if axis not in gone)
    if eqn.name == "expand_dims":
        new = {int(axis) % rank for axis in params["dimensions"]}
        old = iter(range(len(shape)))
        return tuple(() if axis in new else (next(old),) for axis in range(rank))
    if eqn.name == "reshape":
        found = _reshape(blank(shape), params) if math.prod(shape) else None
        return None if found is None else axes_along(shape, found[0].shape, found[0].strides)
    return tuple((axis,) for axis in range(rank))
