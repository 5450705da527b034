"""Moments of an example are those that a loop over pairs of its elements finds, in every framework."""

import itertools
import math

import numpy as np
import pytest
import torch

from isoinit._reading.jax.moments import moments_of as of_array
from isoinit._reading.torch.moments import moments_of as of_tensor

DRAW = np.random.default_rng(0)
ARRAYS = {
    "rows": (DRAW.standard_normal((6, 5)) + 1, 1),
    "places": (DRAW.standard_normal((3, 4, 5)) + 1, 2),
    "an image": (DRAW.standard_normal((3, 2, 4, 3)) - 0.5, 1),
    "one row": (DRAW.standard_normal((1, 5)), 1),
    "a vector": (DRAW.standard_normal(7), 0),
}


def pairs(array, axes):
    """Return the mean product of two elements that differ along some axes, by a loop over them."""
    table = np.moveaxis(array, axes, range(len(axes))).reshape(
        math.prod(array.shape[a] for a in axes), -1
    )
    products = [(x * y).mean() for x, y in itertools.permutations(table, 2)]
    return sum(products) / len(products) if products else np.square(array).mean()


@pytest.mark.parametrize("name", ARRAYS)
def test_against_loops_over_pairs(name):
    array, units = ARRAYS[name]
    between = [axis for axis in range(1, array.ndim) if axis != units]
    for found in (of_array(array, units), of_tensor(torch.from_numpy(array), units)):
        assert (found.mean, found.second) == pytest.approx((array.mean(), np.square(array).mean()))
        assert found.nearby == pytest.approx(pairs(array, between) if between else found.second)
        assert found.across == pytest.approx(pairs(array, [0]) if units else found.second)
        by_unit = np.moveaxis(array, units, 0).reshape(array.shape[units], -1)
        squares = np.square(by_unit).mean(1)
        seen = squares.sum() ** 2 / (len(squares) * np.square(squares).sum())
        assert found.seen == pytest.approx(seen)
        few = len(by_unit) <= 3  # more units of a small example all get its own std
        expected = by_unit.std(1) if few else np.full(len(by_unit), array.std())
        assert np.array(found.units)[:, 1] == pytest.approx(expected)


def test_what_has_no_moments():
    for empty in (np.zeros((0, 3)), np.float32(1), np.array([[np.inf, 1.0]])):
        assert of_array(empty) is None
        assert of_tensor(torch.as_tensor(empty)) is None
    assert of_tensor(torch.ones(2, 3, device="meta")) is None


def test_counts_are_sparse_and_sizes_uneven():
    onehot = np.eye(64, dtype=np.float32)
    sizes = np.array([1.0, 1e-3]) * DRAW.standard_normal((100, 2))
    for of in (of_array, lambda array: of_tensor(torch.from_numpy(array))):
        assert (of(onehot).seen, of(onehot).units) == (1.0, ())
        assert of(sizes).uneven
        assert not of(sizes / [1.0, 1e-3]).uneven
