"""Recorded operations, run again on arrays: the one place where they are.

Booleans stay booleans, integers stay integers, and floating-point numbers are float64.

A *row* is an array of one axis: one number for each element of a signal, in any order. Operations see
a row with as many axes as the recorded signal had, so that a cumulative sum along an inner axis shows.
An array of several axes has the axes of the signal itself; `stack` makes such arrays of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._reading.graph.ops import Array, Op, Pull, ReplayError

# Elements that are replayed again by themselves: of odd number, so that every axis has another length.
CHOSEN = 243
# Half of them are from the smallest eighth: among large ones a softmax picks single elements.
SMALLEST = 8
FEW = 512  # numbers of a row whose choice is kept


def run_ops(
    ops: Sequence[Op], arrays: dict[int, Array], length: int | None = None
) -> dict[int, Array]:
    """Run operations on arrays by the number of their value; the results are added to them.

    Args:
        ops: the operations, in the order of execution.
        arrays: what their inputs hold.
        length: how many elements a row has; by default as many as the rows among the arrays.

    Raises:
        ReplayError: if one of them cannot be replayed on these arrays.
    """
    if length is None:
        length = next((array.size for array in arrays.values() if array.ndim == 1), -1)
    for op in ops:
        made = op.play([_shaped(op, arrays[value]) for value in op.inputs])
        flat = [array.ravel() if array.size == length else array for array in made]
        arrays.update(zip(op.outputs, flat, strict=True))
    return arrays


def pull_back(op: Op, pull: Pull, rows: Sequence[Array], gradient: Array) -> list[Array]:
    """Return the gradients by the rows that an operation reads, given that by its one output.

    Args:
        op: the operation.
        pull: its gradient, or that of it with constants.
        rows: what it reads.
        gradient: the gradient of each element of its output.

    Raises:
        ReplayError: if it cannot be replayed on rows.
    """
    given = [_shaped(op, row) for row in rows]
    pulled = pull(given, gradient.reshape(given[0].shape))
    return [np.asarray(array, np.float64).ravel() for array in pulled]


class Times:
    """A product with a number, and its gradient."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def __call__(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """Return the product."""
        return [self._factor * arrays[0]]

    def pull(self, _arrays: Sequence[Array], gradient: Array) -> Sequence[Array]:
        """Return its gradient."""
        return [self._factor * gradient]


def elementwise(
    function: Callable[[Sequence[Array]], Array],
    rows: Sequence[Array],
    *,
    rtol: float,
    atol: float,
    name: str = "it",
) -> Array:
    """Return what a function makes of rows, if it is elementwise.

    A function is elementwise if and only if it commutes with every choice of elements: f(x[i]) is
    f(x)[i]. One random choice with repetitions, of another length than the rows, is tried. A softmax,
    a cumulative sum, a sort, a mean that is subtracted, and chance itself do not pass.

    Args:
        function: from arrays to an array.
        rows: one row of numbers for each input, all of one length.
        rtol: relative tolerance of the comparison.
        atol: absolute tolerance.
        name: what the function is called in errors.

    Raises:
        ReplayError: if the function is not elementwise, or raises this itself.
    """
    chosen = _choice(rows[0])
    again = np.ravel(function([row[chosen] for row in rows]))
    if again.shape == chosen.shape:  # all pairs of many elements would take gigabytes
        whole = np.ravel(function(rows))
        if whole.size == len(rows[0]) and (
            np.array_equal(whole[chosen], again)  # mostly, and much faster to tell
            or np.allclose(whole[chosen], again, rtol=rtol, atol=atol, equal_nan=True)
        ):
            return whole
    raise ReplayError(f"{name} is no function of single elements")


def _choice(row: Array) -> npt.NDArray[np.intp]:
    """Return the places of random elements of a row: first of small ones, then of any."""
    if len(row) > FEW:
        return _chosen(row)
    return _chosen_of_few(row.tobytes(), row.dtype)


@lru_cache(maxsize=64)
def _chosen_of_few(held: bytes, dtype: np.dtype[Any]) -> npt.NDArray[np.intp]:
    """Return the same for a short row, which is the same grid again and again."""
    return _chosen(np.frombuffer(held, dtype))


def _chosen(row: Array) -> npt.NDArray[np.intp]:
    some, rest = _places(len(row))
    small = np.argpartition(np.abs(row[some]), CHOSEN // 2)[: CHOSEN // 2]
    return np.concatenate([some[small], rest])


@cache
def _places(length: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return random places in a row: those that the small elements are looked for among, and more."""
    rng = np.random.default_rng(0)
    some = rng.integers(length, size=CHOSEN // 2 * SMALLEST)
    return some, rng.integers(length, size=CHOSEN - CHOSEN // 2)


def _shaped(op: Op, array: Array) -> Array:
    """Return a row with as many axes as the operation's recorded input had; others as they are."""
    if array.ndim == 1:
        return array if op.rank < 2 else array.reshape(_axes(array.size, op.rank))
    if op.kind == "move" and not _keeps_axes(op, array.ndim):
        raise ReplayError(f"{op.name} rearranges what is no row of numbers")
    return array


def _keeps_axes(op: Op, rank: int) -> bool:
    """Return whether a move leaves every axis where it is; of axes of one element nothing is known."""
    axes = op.detail.axes
    if axes is None or len(axes) != rank:
        return False
    return all(along in ((), (axis,)) for axis, along in enumerate(axes))


@cache
def _axes(length: int, rank: int) -> tuple[int, ...]:
    """Return a shape of that many axes for a row: as many of 2 or 3 elements as its length allows."""
    sides: list[int] = []
    while len(sides) < rank - 1:
        sides.append(next((side for side in (2, 3) if length > side and length % side == 0), 1))
        length //= sides[-1]
    return (*sides, length)
