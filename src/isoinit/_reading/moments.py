"""The moments of an example's arrays: what the size of the signal in a model starts from.

Written in what tensors of torch and arrays of NumPy have in common, so that tensors are measured on
the device that they are on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from isoinit._reading.few_inputs import FEW, MANY
from isoinit._reading.graph import Given

# Of eight standard normal numbers each, a thousand units differ by less than this in mean square; of
# fewer numbers by more.
EVEN, ENOUGH = 100.0, 8
SPARSE = 0.5  # of the elements are zero: counts and one-hot vectors, which have no size to even out
ERRORS = 3.0  # standard errors of a mean that chance may make: passed once in 400 times
ROWS = 64  # of which the moments of many units are told one by one: of 64 a mean is off by 1/8


def moments(
    values: Any,
    units: int,
    moved: Callable[[Any, int, int], Any],
    deviation: Callable[[Any], Any],
) -> Given | None:
    """Return the moments of an array; None if they are not finite.

    Args:
        values: float64, a tensor or an array with an element at least. Its first axis is
            that of the examples.
        units: the axis along which its units lie, counted from the front. The other axes
            are those of places.
        moved: moves an axis of an array to another place, as `numpy.moveaxis` does.
        deviation: the standard deviation of all numbers of an array, about their mean.
    """
    mean, second = float(values.mean()), _mean_square(values)
    if not math.isfinite(second):
        return None
    between = tuple(axis for axis in range(1, values.ndim) if axis != units)
    places = math.prod(values.shape[axis] for axis in between)
    nearby = _mean_square(values.mean(between)) if between else second
    examples = values.shape[0] if units else 1
    across = _mean_square(values.mean(0))
    by_unit = moved(values, units, 0).reshape(values.shape[units], -1)
    squares = (by_unit * by_unit).mean(1)
    uneven = _uneven(squares, by_unit.shape[1])
    even = float(squares.sum() ** 2 / (squares * squares).sum()) / len(squares) if second else 1.0
    sparse = float((values == 0).sum()) > SPARSE * math.prod(values.shape)
    seen = 1.0 if sparse else even
    alone = () if sparse and len(by_unit) > FEW else _units(by_unit, uneven, deviation)
    pairs = _pairs(nearby, second, places), _pairs(across, second, examples)
    return Given(mean, second, *pairs, uneven=uneven, seen=seen, units=alone)


def _mean_square(values: Any) -> float:
    return float((values * values).mean())


def _units(
    by_unit: Any, uneven: bool, deviation: Callable[[Any], Any]
) -> tuple[tuple[float, float], ...]:
    """Return the mean and deviation of each unit, one a row; () of many units.

    Of more than a few units of one size, small examples give them all those of all their numbers. A
    mean is zero if chance may have made it: another example would give another one.
    """
    count, rows = by_unit.shape
    if count > MANY:
        return ()
    one_by_one = count <= FEW or rows >= ROWS or uneven
    of, times = (by_unit, 1) if one_by_one else (by_unit.reshape(1, -1), count)
    found = [(float(row.mean()), float(deviation(row))) for row in of]
    chance = ERRORS / math.sqrt(of.shape[1])
    return tuple((mean if abs(mean) > chance * std else 0.0, std) for mean, std in found) * times


def _uneven(squares: Any, count: int) -> bool:
    """Return whether units differ in size by more than chance makes them.

    Args:
        squares: the mean square of each.
        count: of how many numbers.
    """
    even = EVEN ** max(ENOUGH / count, 1.0)
    squares = squares[squares > 0]
    return len(squares) > 1 and bool(squares.max() > even * squares.min())


def _pairs(of_mean: float, second: float, count: int) -> float:
    """Return the mean product of two different elements, from the mean square of the mean of all."""
    return second if count < 2 else (count * of_mean - second) / (count - 1)
