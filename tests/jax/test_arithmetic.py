"""The arithmetic of float32 against NumPy's in float64, and integers against Python's."""

import math

import numpy as np
import pytest

from isoinit._drawing.streams.philox import fma32

jax = pytest.importorskip("jax")

from compiled import USUAL  # noqa: E402
from isoinit.jax import arithmetic  # noqa: E402

N = 2**18
fma = jax.jit(lambda a, b, c, zero: arithmetic.fma(a, b, c, zero), compiler_options=USUAL)
ZERO = np.zeros(N, np.uint32)


def same(found, expected):
    return (np.asarray(found).view(np.uint32) == expected.view(np.uint32)).all()


def floats(seed, decades=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(N) * 10.0 ** rng.integers(-decades, 2, N)).astype(np.float32)


@pytest.mark.parametrize("decades", [0, 8])
def test_fma_rounds_once(decades):
    a, b, c = floats(0, decades), floats(1, decades), floats(2, decades)
    assert same(fma(a, b, c, ZERO), fma32(a, b, c))


def test_fma_keeps_what_cancels():
    """a·b - round(a·b) is the error of the product, which float64 holds."""
    a, b = floats(0), floats(1)
    expected = (a.astype(np.float64) * b - (a * b)).astype(np.float32)
    assert np.count_nonzero(expected) > N / 2
    assert same(fma(a, b, -(a * b), ZERO), expected)


def test_fma_of_ties():
    """Halfway cases, and those that two roundings would take for halfway."""
    one, small = np.float32(1), np.float32(2.0**-12)
    a = np.array([one + small] * 3, np.float32)  # the square is 1 + 2**-11 + 2**-24
    c = np.array([0.0, 2.0**-60, -(2.0**-60)], np.float32)
    exact = [1 + 2.0**-11, 1 + 2.0**-11 + 2.0**-23, 1 + 2.0**-11]
    assert np.asarray(fma(a, a, c, ZERO[:3])).tolist() == exact


def test_square_root():
    x = np.exp(np.random.default_rng(0).uniform(-80, 80, N)).astype(np.float32)
    ends = np.nextafter(np.float32([1, 2, 4, 8]), np.float32(0))
    x = np.concatenate([x, ends, np.float32([1, 2, 4, 0.25, 1e-30])])
    assert same(jax.jit(arithmetic.square_root, compiler_options=USUAL)(x), np.sqrt(x))


def test_reciprocal():
    x = np.exp(np.random.default_rng(0).uniform(0, 80, N)).astype(np.float32)
    x = np.concatenate([x, np.float32([1, 2, 3, 1 + 2**-23, 2 - 2**-23])])
    assert same(jax.jit(arithmetic.reciprocal, compiler_options=USUAL)(x), np.float32(1) / x)


@pytest.mark.parametrize("off", [-2, -1, 1, 2])
def test_approximate_ones_are_corrected(off):
    """A GPU's division and square root may be off by some last bits."""
    rng = np.random.default_rng(off + 2)
    squares = [int(x) << 23 for x in rng.integers(2**23, 2**25, 500)]
    roots = [(math.isqrt(4 * x) + 1) // 2 for x in squares]
    low = np.array([x & 0xFFFFFFFF for x in squares], np.uint32).view(np.int32)
    given = np.array(roots, np.int32)
    assert np.asarray(arithmetic.nearest_root(given + np.int32(off), low)).tolist() == roots
    divisors = rng.integers(2**23, 2**24, 500).astype(np.int32)
    quotients = np.array([(2**48 // int(d) + 1) // 2 for d in divisors], np.int32)
    found = arithmetic.nearest_quotient(quotients + np.int32(off), divisors)
    assert np.asarray(found).tolist() == quotients.tolist()


def test_a_zero_that_is_not_known():
    words = np.random.default_rng(0).integers(0, 2**32, N, dtype=np.uint32)
    assert not np.asarray(arithmetic.zero_of(words)).any()
    text = jax.jit(arithmetic.zero_of).lower(words).compile(USUAL).as_text()
    assert "multiply" in text  # it is computed
