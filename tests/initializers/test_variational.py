"""Variational: mean and spread share the variance that a single value would have."""

import math

import numpy as np
import pytest

from isoinit.errors import ArgumentError
from isoinit.initializers import (
    Constant,
    HeNormal,
    LeCunNormal,
    Orthogonal,
    Variational,
    XavierUniform,
    Zeros,
)
from isoinit.initializers.scale import fans

LAYOUT = fans.linear((300, 500))
BASES = [LeCunNormal(), HeNormal(), XavierUniform(2.0), Orthogonal()]


@pytest.mark.parametrize("base", BASES, ids=str)
@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0, 30.0])
def test_a_sampled_weight_has_the_variance_of_the_base(base, scale):
    """(shrink·s)² + σ² = s², and σ is `scale` times the mean's standard deviation."""
    initializer = Variational(base, scale)
    s = base.std_for(LAYOUT)
    mean_std, spread = initializer.shrink * s, initializer.spread_for(LAYOUT)
    assert math.hypot(mean_std, spread) == pytest.approx(s, rel=1e-14)
    assert spread / mean_std == pytest.approx(scale, rel=1e-14)
    assert initializer.std_for(LAYOUT) == s


def test_samples_bear_it_out(draw):
    """150,000 weights: √(2/n) on the variance, 4.9 of them; one seed in a million fails."""
    initializer = Variational(HeNormal(), scale=0.5)
    mean = initializer.shrink * draw(initializer, LAYOUT)
    noise = np.random.default_rng(0).standard_normal(LAYOUT.shape)
    sampled = mean + initializer.spread_for(LAYOUT) * noise
    assert sampled.var() == pytest.approx(2 / 500, rel=4.9 * math.sqrt(2 / sampled.size))


@pytest.mark.parametrize("base", BASES, ids=str)
def test_a_plain_parameter_gets_the_base(base, draw):
    np.testing.assert_array_equal(draw(Variational(base), LAYOUT), draw(base, LAYOUT))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"scale": 0}, "scale=0"),
        ({"scale": -0.1}, "scale=-0.1"),
        ({"scale": math.nan}, "scale=nan"),
        ({"base": Zeros()}, r"base=Zeros\(\)"),
        ({"base": Constant(1.0)}, "base=Constant"),
        ({"base": None}, "base=None"),
        ({"base": HeNormal}, "base="),
    ],
)
def test_bad_options(options, named):
    with pytest.raises(ArgumentError, match=named):
        Variational(**options)


def test_a_vector_is_refused_by_the_base(draw):
    with pytest.raises(ArgumentError, match="LeCunNormal"):
        draw(Variational(), fans.vector((5,)))
