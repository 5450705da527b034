"""Primitives that work along axes: sums, cumulative sums, sorts, and their gradients.

A reduction leaves its axes with one element each, so that its result broadcasts against what was
reduced: which axes the model dropped is for the reader to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isoinit._reading.jax.elementwise import Params, Values, converted

REDUCTIONS: dict[str, np.ufunc] = {
    "reduce_and": np.bitwise_and,
    "reduce_max": np.maximum,
    "reduce_min": np.minimum,
    "reduce_or": np.bitwise_or,
    "reduce_prod": np.multiply,
    "reduce_sum": np.add,
    "reduce_xor": np.bitwise_xor,
}
PLACES: dict[str, Callable[..., Any]] = {"argmax": np.argmax, "argmin": np.argmin}
CUMULATIVE: dict[str, np.ufunc] = {
    "cumlogsumexp": np.logaddexp,
    "cummax": np.maximum,
    "cummin": np.minimum,
    "cumprod": np.multiply,
    "cumsum": np.add,
}
KEEPS_DIMS = frozenset({*REDUCTIONS, *PLACES})
NAMES = KEEPS_DIMS | {*CUMULATIVE, "rev", "sort", "top_k"}


def values(name: str, params: Params, arrays: Sequence[Values]) -> list[Values]:
    """Return what a primitive makes of arrays with at least as many axes as it names.

    Args:
        name: one of `NAMES`.
        params: those of its equation.
        arrays: what it reads, all of one shape.
    """
    first = arrays[0]
    if name in REDUCTIONS:
        axes = tuple(params["axes"])
        return [REDUCTIONS[name].reduce(first, axis=axes, keepdims=True, dtype=first.dtype)]
    if name in PLACES:
        (axis,) = params["axes"]
        return [converted(PLACES[name](first, axis, keepdims=True), params["index_dtype"])]
    if name in CUMULATIVE:
        axis, back = params["axis"], params["reverse"]
        given = np.flip(first, axis) if back else first
        made = CUMULATIVE[name].accumulate(given, axis, dtype=first.dtype)
        return [np.flip(made, axis) if back else made]
    if name == "rev":
        return [np.flip(first, tuple(params["dimensions"]))]
    axis = params["dimension"] if name == "sort" else _axis_of_top(params, first)
    order = _order(name, params, arrays)
    picked = [np.take_along_axis(array, order, axis) for array in arrays]
    return picked if name == "sort" else [*picked, order.astype(np.int32)]


def gradients(
    name: str, params: Params, arrays: Sequence[Values], made: Values, sent: Sequence[Values]
) -> list[Values] | None:
    """Return the gradients by what a primitive reads; None where there is no formula here.

    Equal extremes share the gradient, as in JAX.

    Args:
        name: one of `NAMES`.
        params: those of its equation.
        arrays: what it reads.
        made: what it makes of them, first of all.
        sent: the gradients by what it makes.
    """
    first, gradient = arrays[0], sent[0]
    if name == "reduce_sum":
        return [np.broadcast_to(gradient, first.shape)]
    if name in ("reduce_max", "reduce_min"):
        chosen = first == made
        count = chosen.sum(tuple(params["axes"]), keepdims=True)
        return [chosen * (gradient / count)]
    if name == "reduce_prod":
        return [gradient * _product_of_others(first, tuple(params["axes"]))]
    if name == "cumsum":
        other = {**params, "reverse": not params["reverse"]}
        return values(name, other, [gradient])
    if name == "rev":
        return values(name, params, [gradient])
    if name in CUMULATIVE:
        axis, back = params["axis"], params["reverse"]
        given = [np.flip(one, axis) if back else one for one in (first, made, gradient)]
        found = _OF_CUMULATIVE[name](*(np.moveaxis(one, axis, -1) for one in given))
        if found is None:
            return None
        found = np.moveaxis(found, -1, axis)
        return [np.flip(found, axis) if back else found]
    if name not in ("sort", "top_k"):
        return None
    axis = params["dimension"] if name == "sort" else _axis_of_top(params, first)
    order = _order(name, params, arrays)
    spread = [np.zeros(array.shape) for array in arrays]
    for to, one in zip(spread, sent, strict=False):  # top_k makes places, too
        np.put_along_axis(to, order, one, axis)
    return spread


def _axis_of_top(params: Params, array: Values) -> int:
    """Return the axis along which the largest are taken: older versions of JAX know the last alone."""
    axis: int = params.get("axis", array.ndim - 1)
    return axis


def _order(name: str, params: Params, arrays: Sequence[Values]) -> Values:
    """Return the places that a sort or a choice of the largest takes its elements from."""
    if name == "sort":
        keys = arrays[: params["num_keys"]]
        return np.asarray(np.lexsort(keys[::-1], axis=params["dimension"]))
    array, count = arrays[0], params["k"]
    axis = _axis_of_top(params, array)
    length = array.shape[axis]
    if count > length:
        raise ValueError(f"{count} largest of {length}")
    rising = np.argsort(np.flip(array, axis), axis, kind="stable")
    order = length - 1 - np.flip(rising, axis)  # of equals the first comes first
    return np.asarray(np.take(order, range(count), axis))


def _sum_from_here(array: Values) -> Values:
    """Return the sums of each element and all that follow along the last axis."""
    return np.flip(np.cumsum(np.flip(array, -1), -1), -1)


def _of_cumprod(array: Values, made: Values, sent: Values) -> Values | None:
    if not array.all():
        return None
    return np.asarray(_sum_from_here(sent * made) / array)


def _of_extreme(array: Values, made: Values, sent: Values) -> Values | None:
    """Return the gradient of a running extreme: that of each place goes to where its extreme is."""
    if (
        np.isnan(array).any() or (array[..., 1:] == made[..., :-1]).any()
    ):  # shared by a rule of JAX's
        return None
    length = array.shape[-1]
    places = np.where(array == made, np.arange(length), 0)
    lines = np.maximum.accumulate(places, -1).reshape(-1, length)
    flat = lines + length * np.arange(len(lines))[:, None]
    return np.bincount(flat.ravel(), sent.ravel(), array.size).reshape(array.shape)


def _of_cumlogsumexp(array: Values, made: Values, sent: Values) -> Values:
    """Return sums of sent·exp(x - made) from each place on, by logarithms: no exp overflows."""
    sides = []
    for side in (np.maximum(sent, 0), np.maximum(-sent, 0)):
        logs = np.flip(np.log(side) - made, -1)
        sides.append(np.exp(array + np.flip(np.logaddexp.accumulate(logs, -1), -1)))
    return np.asarray(sides[0] - sides[1])


# Of what is read, what is made, and the gradient by it, cumulated along the last axis.
_OF_CUMULATIVE: dict[str, Callable[[Values, Values, Values], Values | None]] = {
    "cumlogsumexp": _of_cumlogsumexp,
    "cummax": _of_extreme,
    "cummin": _of_extreme,
    "cumprod": _of_cumprod,
}


def _product_of_others(array: Values, axes: tuple[int, ...]) -> Values:
    """Return for each element the product of all others along the axes; no division: of zeros, too."""
    last = tuple(range(-len(axes), 0))
    moved = np.moveaxis(array, axes, last)
    flat = moved.reshape(*moved.shape[: moved.ndim - len(axes)], -1)
    before, after = np.ones_like(flat), np.ones_like(flat)
    before[..., 1:] = np.cumprod(flat[..., :-1], -1)
    after[..., :-1] = np.flip(np.cumprod(np.flip(flat[..., 1:], -1), -1), -1)
    return np.moveaxis((before * after).reshape(moved.shape), last, axes)
