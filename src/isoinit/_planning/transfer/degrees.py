"""How an operation answers to larger inputs: the powers of its signals, found by running it.

An operation is homogeneous if inputs twice as large give an output 2^k times as large: a ReLU (k = 1),
a square (2), a quotient (1 and -1), a sum (1, if all that it adds is scaled alike). A GELU is not: its
input must keep its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isoinit._reading.graph import Array, Op, ReplayError

INFINITE = 1e8  # masks hide by such numbers, or larger ones; rows and their powers are smaller
LENGTH = 24  # of the rows that an operation is run on: with factors of 2 and 3, for several axes
POWERS = (1.0, 0.0, 2.0, -1.0, 0.5, -0.5, -2.0, 3.0)


@dataclass(frozen=True)
class Degrees:
    """The powers of an operation's inputs.

    Attributes:
        single: the power of each input that may be scaled by itself; None for the others.
        together: the power of those others, if all are scaled alike.
    """

    single: tuple[float | None, ...]
    together: float = 1.0


def degrees(op: Op) -> Degrees | None:
    """Return the powers of an operation's inputs; None if it is not homogeneous, or cannot be run."""
    given = rows(len(op.inputs))
    made = outputs(op, given)
    if made is None and op.name == "mul" and len(op.inputs) == 1:
        return Degrees((1.0,))  # by a constant whose values are not known
    if made is None or any(np.isnan(row).any() for row in made):
        given = [np.abs(row) for row in given]
        made = outputs(op, given)
    if made is None or any(np.isnan(row).any() or not _small(row).any() for row in made):
        return None
    single = tuple(_power(op, given, made, [place]) for place in range(len(given)))
    rest = [place for place, power in enumerate(single) if power is None]
    if not rest:
        return Degrees(single)
    together = _power(op, given, made, rest)
    return None if together is None else Degrees(single, together)


def outputs(op: Op, given: Sequence[Array]) -> list[Array] | None:
    """Return what an operation makes of rows in place of its inputs; None where it cannot be run."""
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(row, np.float64) for row in _played(op, given)]
    except (ReplayError, ValueError):  # of NumPy, for shapes that do not go together
        return None


def _played(op: Op, given: Sequence[Array]) -> Sequence[Array]:
    """Return what an operation makes of rows, with the constants that it reads.

    Raises:
        ReplayError: if it cannot be run on rows.
    """
    shape = _shape(op.rank)
    given = [row.reshape(shape) for row in given]
    if op.mixed is not None:
        constants = [_spread(np.asarray(row, np.float64).ravel(), shape) for row in op.mixed.rows]
        return op.mixed.replay([*given, *constants])
    return op.play(given)


def _spread(row: Array, shape: tuple[int, ...]) -> Array:
    """Return as many values as a shape has elements, evenly from all of a row."""
    places = np.linspace(0, row.size - 1, math.prod(shape)).astype(int)
    return np.asarray(row[places].reshape(shape), np.float64)


def _shape(rank: int) -> tuple[int, ...]:
    """Return a shape of that many axes for the rows."""
    sides = (2, 3, 4) if rank > 2 else (4, 6) if rank == 2 else (LENGTH,)
    return (*(1,) * max(rank - 3, 0), *sides)


def rows(count: int) -> list[Array]:
    """Return rows of both signs that cover four orders of magnitude: a bend is met somewhere."""
    rng = np.random.default_rng(0)
    size = 10.0 ** rng.uniform(-2, 2, (count, LENGTH))
    return list(size * rng.choice([-1.0, 1.0], (count, LENGTH)))


def _power(
    op: Op, given: Sequence[Array], made: Sequence[Array], scaled: Sequence[int]
) -> float | None:
    """Return the power of some inputs, scaled alike; None if there is none."""
    found: float | None = None
    for factor in (2.0, 5.0):
        larger = [row * factor if place in scaled else row for place, row in enumerate(given)]
        after = outputs(op, larger)
        if after is None:
            return None
        powers = POWERS if found is None else (found,)
        found = next((p for p in powers if _alike(made, after, factor**p)), None)
        if found is None:
            return None
    return found


def _alike(before: Sequence[Array], after: Sequence[Array], factor: float) -> bool:
    """Return whether results are that many times as large; what a mask hides is left out."""
    for b, a in zip(before, after, strict=True):
        seen = _small(b)
        if b.shape != a.shape or not np.array_equal(seen, _small(a)):
            return False
        size = float(np.abs(b[seen]).max(initial=0.0))
        if not np.allclose(a[seen], factor * b[seen], rtol=1e-6, atol=1e-9 * size):
            return False
    return True


def _small(row: Array) -> npt.NDArray[np.bool_]:
    """Return which values are none of those that masks put in the place of infinity."""
    return np.isfinite(row) & (np.abs(row) < INFINITE)
