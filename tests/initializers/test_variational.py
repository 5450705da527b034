"""Variational on a plain parameter. What `convert` makes of it: tests/variational/test_convert.py."""

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


@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0, 30.0])
def test_mean_and_spread_share_the_variance_of_the_base(scale):
    """shrink² + (scale · shrink)² = 1."""
    shrink = Variational(scale=scale).shrink
    assert math.hypot(shrink, scale * shrink) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("base", BASES, ids=str)
def test_a_plain_parameter_gets_the_base(base, draw):
    assert Variational(base).std_for(LAYOUT) == base.std_for(LAYOUT)
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
