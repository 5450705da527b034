"""Sparse orthogonal matrices: exactly orthogonal, as full as asked for, and as random as they can be.

Seeds are fixed; each statistical bound is 4.9 standard errors (a failure in a million seeds).
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoinit._drawing.streams import Stream
from isoinit.initializers.patterns.rotations import rotations


def matrix(seed, n, wanted):
    places, values = rotations(Stream(seed, "weight"), n, wanted)
    assert (np.diff(places) > 0).all()
    found = np.zeros(n * n)
    found[places] = values
    return found.reshape(n, n)


@settings(deadline=None)
@given(n=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 2**40))
def test_orthogonal_at_any_size_and_density(n, share, seed):
    wanted = max(round(share * n * n), n)
    found = matrix(seed, n, wanted)
    assert np.abs(found @ found.T - np.eye(n)).max() < 1e-12
    assert (found != 0).any(0).all()
    # Within what the last pair of rows can add.
    assert wanted <= np.count_nonzero(found) + 2 * n
    assert np.count_nonzero(found) <= wanted + 2 * n


@pytest.mark.parametrize("wanted", [1, 4, 16])
def test_rows_are_about_equally_full(wanted):
    found = matrix(0, 512, wanted * 512) != 0
    assert found.mean() == pytest.approx(wanted / 512, rel=0.01)
    assert found.sum(1).max() <= 2 * wanted
    assert found.sum(1).min() >= wanted / 4


def test_elements_have_no_preferred_sign_or_place():
    """Over 300 matrices of 16 × 16 with 4 of 16 kept: means and mean squares of each element."""
    drawn = np.stack([matrix(seed, 16, 64) for seed in range(300)])
    assert np.abs(drawn.mean(0)).max() < 5.8 * math.sqrt(1 / 16 / 300)
    squares = np.square(drawn).mean(0)
    error = np.square(drawn).std() / math.sqrt(300)
    assert np.abs(squares - 1 / 16).max() < 5.8 * error


def test_the_same_seed_gives_the_same_bits():
    assert (matrix(3, 64, 640) == matrix(3, 64, 640)).all()
    assert (matrix(3, 64, 640) != matrix(4, 64, 640)).any()
