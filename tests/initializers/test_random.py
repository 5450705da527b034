"""Given distributions: their laws, and the spread that each promises.

Seeds are fixed; a correct library fails a check under one seed in a million (p < 1e-6).
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import trapezoid

from isoinit.errors import ArgumentError
from isoinit.initializers import Normal, TruncatedNormal, Uniform
from isoinit.initializers.scale import fans

LAYOUT = fans.linear((500, 400))
ANY = fans.vector((1,))

LAWS = [
    (Uniform(), stats.uniform()),
    (Uniform(-0.3, 0.1), stats.uniform(-0.3, 0.4)),
    (Normal(), stats.norm()),
    (Normal(2.0, 0.02), stats.norm(2, 0.02)),
    (TruncatedNormal(), stats.truncnorm(-2, 2)),
    (TruncatedNormal(std=0.02), stats.truncnorm(-2, 2, scale=0.02)),
    (TruncatedNormal(1.0, 0.5, -1, 3), stats.truncnorm(-1, 3, 1, 0.5)),
    (TruncatedNormal(0.0, 2.0, 5, 6), stats.truncnorm(5, 6, 0, 2)),
]


@pytest.mark.parametrize(("initializer", "law"), LAWS, ids=[str(row[0]) for row in LAWS])
def test_law(initializer, law, draw):
    values = draw(initializer, LAYOUT).ravel().astype(np.float64)
    assert stats.kstest(values, law.cdf).pvalue > 1e-6


@pytest.mark.parametrize(("initializer", "law"), LAWS, ids=[str(row[0]) for row in LAWS])
def test_promised_spread(initializer, law):
    assert initializer.std_for(LAYOUT) == pytest.approx(law.std(), rel=1e-6)


def test_two_sigma_leaves_the_known_share():
    """JAX's and Flax's constant for a normal cut at ±2."""
    assert TruncatedNormal().std_for(ANY) == pytest.approx(0.87962566103423978, rel=1e-14)


@given(a=st.floats(-7, 7), width=st.floats(0.5, 9))
def test_spread_after_any_cut(a, width):
    """Far out in a tail 1 - Φ loses its digits: the closed form must not. By a Riemann sum."""
    z = np.linspace(a, a + width, 20_001)
    density = np.exp(-0.5 * (z**2 - min(abs(a), abs(a + width)) ** 2))
    mean = trapezoid(z * density, z) / trapezoid(density, z)
    variance = trapezoid((z - mean) ** 2 * density, z) / trapezoid(density, z)
    promised = TruncatedNormal(a=a, b=a + width).std_for(ANY)
    assert promised == pytest.approx(math.sqrt(variance), rel=1e-5)


@pytest.mark.parametrize("initializer", [Normal(0.7, 0), TruncatedNormal(0.7, 0)])
def test_without_spread_there_is_the_mean(initializer, draw):
    assert (draw(initializer, ANY) == np.float32(0.7)).all()
    assert initializer.std_for(ANY) == 0


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Uniform(1, 0), "expected a < b, found a=1 and b=0"),
        (lambda: Uniform(1, 1), "a < b"),
        (lambda: Uniform(math.nan, 1), "a=nan"),
        (lambda: Uniform(0, math.inf), "b=inf"),
        (lambda: Normal(std=-1), "std=-1"),
        (lambda: Normal(mean=None), "mean=None"),
        (lambda: Normal(std=True), "std=True"),
        (lambda: TruncatedNormal(std=-0.1), "std=-0.1"),
        (lambda: TruncatedNormal(mean=math.inf), "mean=inf"),
        (lambda: TruncatedNormal(a=2), "a < b"),
        (lambda: TruncatedNormal(a=-math.inf), "a=-inf"),
        (lambda: TruncatedNormal(b="far"), "b='far'"),
    ],
)
def test_bad_options(make, named):
    with pytest.raises(ArgumentError, match=named):
        make()
