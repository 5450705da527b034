"""The moments of an example's tensors: what the size of the signal in a model starts from."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from isoinit._reading.few_inputs import FEW, MANY
from isoinit._reading.graph import Given
from isoinit._reading.torch.numbers import in_reals

# Of eight standard normal numbers each, a thousand units differ by less than this in mean square; of
# fewer numbers by more.
EVEN, ENOUGH = 100.0, 8
SPARSE = 0.5  # of the elements are zero: counts and one-hot vectors, which have no size to even out
ERRORS = 3.0  # standard errors of a mean that chance may make: passed once in 400 times
ROWS = 64  # of which the moments of many units are told one by one: of 64 a mean is off by 1/8


def moments_of(tensor: torch.Tensor, units: int | None = None) -> Given | None:
    """Return the moments of a tensor; None if it has no values here.

    Those of complex numbers are those of `in_reals`.

    Args:
        tensor: its first axis tells examples apart.
        units: the axis along which its units lie; by default the second one of an image, and the
            last one of any other tensor. The axes that are left tell places apart.
    """
    if not tensor.numel() or tensor.is_meta or not tensor.dim():
        return None
    if isinstance(tensor, FakeTensor) or hasattr(tensor, "device_mesh"):
        return None
    if tensor.layout is not torch.strided:
        return _of_sparse(tensor)
    if units is None:
        units = 1 if tensor.dim() >= 4 else tensor.dim() - 1
    with torch.no_grad():
        values = in_reals(tensor.detach(), units).double()
        mean, second = values.mean().item(), values.square().mean().item()
        if not np.isfinite(second):
            return None
        between = tuple(axis for axis in range(1, values.dim()) if axis != units)
        places = int(np.prod([values.shape[axis] for axis in between]))
        nearby = values.mean(between).square().mean().item() if between else second
        examples = values.shape[0] if units else 1
        across = values.mean(0).square().mean().item()
        by_unit = values.movedim(units, 0).reshape(values.shape[units], -1)
        uneven = _uneven(by_unit)
        squares = by_unit.square().mean(1)
        even = (
            (squares.sum() ** 2 / squares.square().sum()).item() / len(squares) if second else 1.0
        )
        sparse = bool((values == 0).double().mean() > SPARSE)
        seen = 1.0 if sparse else even
        alone = () if sparse and len(by_unit) > FEW else _units(by_unit, uneven)
    pairs = _pairs(nearby, second, places), _pairs(across, second, examples)
    return Given(mean, second, *pairs, uneven=uneven, seen=seen, units=alone)


def _of_sparse(tensor: torch.Tensor) -> Given | None:
    """Return the moments of a sparse tensor over all of its places, those without an element too."""
    with torch.no_grad():
        tensor = tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor
        values, places = tensor.values().double(), tensor.numel()
        mean, second = values.sum().item() / places, values.square().sum().item() / places
    return Given(mean, second, mean**2, mean**2) if np.isfinite(second) else None


def _units(by_unit: torch.Tensor, uneven: bool) -> tuple[tuple[float, float], ...]:
    """The mean and deviation of each unit, one a row; () of many units.

    Of more than a few units of one size, small examples give them all those of all their numbers. A
    mean is zero if chance may have made it: another example would give another one.
    """
    count, rows = by_unit.shape
    if count > MANY:
        return ()
    one_by_one = count <= FEW or rows >= ROWS or uneven
    of = by_unit if one_by_one else by_unit.reshape(1, -1).expand(count, -1)
    found = ((row.mean().item(), row.std(correction=0).item()) for row in of)
    chance = ERRORS / math.sqrt(of.shape[1])
    return tuple((mean if abs(mean) > chance * std else 0.0, std) for mean, std in found)


def _uneven(units: torch.Tensor) -> bool:
    """Whether the units, one a row, are of very different sizes: more than chance makes them."""
    even = EVEN ** max(ENOUGH / units.shape[1], 1.0)
    squares = units.square().mean(1)
    squares = squares[squares > 0]
    return len(squares) > 1 and bool(squares.max() > even * squares.min())


def _pairs(of_mean: float, second: float, count: int) -> float:
    """The mean product of two different elements, from the mean square of the mean of all."""
    return second if count < 2 else (count * of_mean - second) / (count - 1)
