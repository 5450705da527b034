"""The normal between two bounds: moments against mpmath, draws against the exact distribution.

Seeds are fixed; a correct library fails a Kolmogorov–Smirnov check under one seed in a million.
"""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

from isoinit._drawing.streams import Stream, laws, philox
from isoinit._drawing.streams.truncation import moments, require_drawable
from isoinit.errors import ArgumentError
from isoinit.initializers import TruncatedNormal
from isoinit.initializers.scale import fans

INF = 1e300
TAILS = [(6, 8), (8, 9), (9, 1000), (10, 11), (10.7, INF), (3, INF), (5, 5.01), (10, 10.011)]
NARROW = [(0, 2.5e-4), (-2e-4, 2e-4), (2, 2.0023), (0.3, 0.3006)]
WIDE = [(-2, 2), (-1, 3), (0, 1), (-INF, INF), (-INF, 3)]
INTERVALS = [*WIDE, *NARROW, *TAILS, (-8, -6), (-INF, -10.7), (-10.011, -10)]
REFUSED = [
    *[(30, 31), (-31, -30), (11, INF), (1e300, 1.1e300), (1e8, 1e8 + 1)],
    *[(2, 2.0001), (2, 2.00000001), (0, 1e-6), (-1e-6, 1e-6), (6, 6.001), (10, 10.001)],
]


def by_quadrature(a, b):
    """Return the moments by tanh-sinh quadrature of the density relative to its mode, 40 digits."""
    with mpmath.workdps(40):
        low, high = (mpmath.mpf(min(max(x, -40), 40)) for x in (a, b))
        mode = min(max(0, low), high)
        points = sorted({low, high, *(mode + d for d in (-8, -2, -0.3, 0, 0.3, 2, 8))})
        points = [p for p in points if low <= p <= high]

        def mean_of(power, centre):
            def integrand(x):
                return (x - centre) ** power * mpmath.exp((mode * mode - x * x) / 2)

            return mpmath.quad(integrand, points)

        mass = mean_of(0, 0)
        mean = mean_of(1, 0) / mass
        return float(mean), float(mpmath.sqrt(mean_of(2, mean) / mass))


def exact(values, a, b):
    """Return F(x) of a sorted sample by scipy's logarithms of the tail, from the nearer end."""
    if a + b < 0:
        return 1 - exact(-values[::-1], -b, -a)[::-1]
    at, low, high = (special.log_ndtr(-np.asarray(x, float)) for x in (values, a, b))
    return np.expm1(at - low) / np.expm1(high - low)


@pytest.mark.parametrize(("a", "b"), INTERVALS)
def test_moments_are_those_of_the_integral(a, b):
    assert moments(a, b) == pytest.approx(by_quadrature(a, b), rel=1e-13, abs=1e-17)
    scaled, layout = TruncatedNormal(0.5, 0.02, a, b), fans.vector((3,))
    mean, std = by_quadrature(a, b)
    assert scaled.mean_for(layout) == pytest.approx(0.5 + 0.02 * mean, rel=1e-13)
    assert scaled.std_for(layout) == pytest.approx(0.02 * std, rel=1e-12)


@pytest.mark.parametrize(("a", "b"), INTERVALS)
def test_every_quantile_is_where_the_distribution_has_it(a, b):
    """2**14 words in equal steps, the ends with them; no share is moved by more than 2**-10."""
    words = np.linspace(0, 2**32 - 1, 2**14).astype(np.uint32)
    law = laws.truncated_normal(0.0, 1.0, a, b, np.dtype(np.float64))
    drawn = philox.truncated_normal(words, law.below, law.above, law.step).astype(float)
    shares = exact(np.clip(drawn, max(a, -40), min(b, 40)), a, b)
    assert np.abs(shares - (words + 0.5) / 2**32).max() < 2**-10


@pytest.mark.parametrize(("a", "b"), [*TAILS, (-9, -8), (-INF, -6)])
def test_the_tail_is_drawn(a, b):
    values = np.empty(2**15)
    TruncatedNormal(0.0, 1.0, a, b).fill(values, Stream(0, "tail"), fans.vector(values.shape))
    shares = exact(np.sort(values), a, b)
    assert stats.kstest(shares, "uniform").pvalue > 1e-6
    assert stats.kstest(shares**1.05, "uniform").pvalue < 1e-6  # a wrong one is noticed


@pytest.mark.parametrize("dtype", ["float16", "uint16", "float32", "float64"])
@pytest.mark.parametrize(("a", "b"), INTERVALS)
def test_no_rounding_leaves_the_interval(dtype, a, b):
    """In any type: the values are those of the type that the bounds enclose."""
    mean, std, out = 0.7, 0.3, np.empty(4096, dtype)
    low, high = mean + a * std, mean + b * std
    middle, spread = moments(a, b)
    if 4 * std * spread < laws._FORMATS[out.dtype].step(mean + std * middle):
        with pytest.raises(ArgumentError, match=r"apart|lies between"):
            laws.truncated_normal(mean, std, low, high, out.dtype)
        return
    law = laws.truncated_normal(mean, std, low, high, out.dtype)
    Stream(0, "weight").fill(out, law)
    if dtype == "uint16":
        out = torch.from_numpy(out.view(np.int16)).view(torch.bfloat16).double().numpy()
    assert low <= float(out.min())
    assert float(out.max()) <= high


@pytest.mark.parametrize(("a", "b"), REFUSED)
def test_what_32_bits_do_not_resolve_is_refused(a, b):
    with pytest.raises(ArgumentError, match=r"standard deviations from the mean .*expected"):
        require_drawable(a, b)
    with pytest.raises(ArgumentError, match=r"TruncatedNormal\(.*expected at least"):
        TruncatedNormal(0.0, 1.0, a, b)


def test_bounds_that_are_no_interval_are_refused():
    for a, b in ((1, 1), (2, 1), (math.nan, 1), (-math.inf, 1), (0, math.inf)):
        with pytest.raises(ArgumentError, match="TruncatedNormal"):
            TruncatedNormal(0.0, 1.0, a, b)


def test_the_farthest_draw_is_bounded():
    """The bound of a law's draws is what its end words give, and is not far above it."""
    for a, b in INTERVALS:
        law = laws.truncated_normal(1.0, 2.0, 1 + 2 * a, 1 + 2 * b, np.dtype(np.float64))
        out = np.empty(2, np.float64)
        ends = np.array([0, 2**32 - 1], np.uint32)
        philox.finish(philox.truncated_normal(ends, law.below, law.above, law.step), law, out)
        most = laws.largest(law)
        assert np.abs(out).max() <= most <= np.abs(out).max() * (1 + 2**-17)
