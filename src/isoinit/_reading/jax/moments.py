"""The moments of an example's arrays: what the size of the signal in a model starts from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isoinit._reading.few_inputs import FEW, MANY
from isoinit._reading.graph import Array, Given

# Of eight standard normal numbers each, a thousand units differ by less than this in mean square; of
# fewer numbers by more.
EVEN, ENOUGH = 100.0, 8
SPARSE = 0.5  # of the elements are zero: counts and one-hot vectors, which have no size to even out
ERRORS = 3.0  # standard errors of a mean that chance may make: passed once in 400 times
ROWS = 64  # of which the moments of many units are told one by one: of 64 a mean is off by 1/8


def moments_of(leaf: Any, units: int = -1) -> Given | None:
    """Return the moments of an array; None if it has no values here.

    Args:
        leaf: its first axis tells examples apart.
        units: the axis along which its units lie. The axes that are left tell places apart.
    """
    if not hasattr(leaf, "__array__") or not math.prod(leaf.shape) or not leaf.shape:
        return None
    values = np.asarray(leaf)
    if values.dtype.kind == "c" or (
        values.dtype.kind not in "biuf" and values.dtype.name[:2] != "bf"
    ):
        return None
    values = values.astype(np.float64)
    units %= values.ndim
    mean, second = float(values.mean()), float(np.square(values).mean())
    if not np.isfinite(second):
        return None
    between = tuple(axis for axis in range(1, values.ndim) if axis != units)
    places = math.prod(values.shape[axis] for axis in between)
    nearby = float(np.square(values.mean(between)).mean()) if between else second
    examples = values.shape[0] if units else 1
    across = float(np.square(values.mean(0)).mean())
    by_unit = np.moveaxis(values, units, 0).reshape(values.shape[units], -1)
    uneven = _uneven(by_unit)
    squares = np.square(by_unit).mean(1)
    even = float(squares.sum() ** 2 / np.square(squares).sum()) / len(squares) if second else 1.0
    sparse = bool((values == 0).mean() > SPARSE)
    alone = () if sparse and len(by_unit) > FEW else _units(by_unit, uneven)
    pairs = _pairs(nearby, second, places), _pairs(across, second, examples)
    seen = 1.0 if sparse else even
    return Given(mean, second, *pairs, uneven=uneven, seen=seen, units=alone)


def _units(by_unit: Array, uneven: bool) -> tuple[tuple[float, float], ...]:
    """Return the mean and deviation of each unit, one a row; () of many units.

    Of more than a few units of one size, small examples give them all those of all their numbers. A
    mean is zero if chance may have made it: another example would give another one.
    """
    count, rows = by_unit.shape
    if count > MANY:
        return ()
    one_by_one = count <= FEW or rows >= ROWS or uneven
    of = by_unit if one_by_one else np.broadcast_to(by_unit.reshape(1, -1), (count, count * rows))
    found = ((float(row.mean()), float(row.std())) for row in of)
    chance = ERRORS / math.sqrt(of.shape[1])
    return tuple((mean if abs(mean) > chance * std else 0.0, std) for mean, std in found)


def _uneven(units: Array) -> bool:
    """Return whether the units, one a row, differ in size by more than chance makes them."""
    even = EVEN ** max(ENOUGH / units.shape[1], 1.0)
    squares = np.square(units).mean(1)
    squares = squares[squares > 0]
    return len(squares) > 1 and bool(squares.max() > even * squares.min())


def _pairs(of_mean: float, second: float, count: int) -> float:
    """Return the mean product of two different elements, from the mean square of the mean of all."""
    return second if count < 2 else (count * of_mean - second) / (count - 1)
