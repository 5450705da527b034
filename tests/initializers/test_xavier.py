"""Xavier: the published variance, and the signal that it keeps.

Seeds are fixed; a correct library fails a check under one seed in a million (p < 1e-6).
"""

import math

import numpy as np
import pytest
from scipy import stats

from isoinit.errors import ArgumentError
from isoinit.initializers import XavierNormal, XavierUniform
from isoinit.initializers.scale import fans

LAYOUTS = [
    (fans.linear((300, 500)), 2 / 800),
    (fans.linear((600, 200), 3), 2 / 400),  # packed: a block of 200 to 200
    (fans.linear((200, 600), 3, transposed=True), 2 / 400),
    (fans.conv((64, 16, 3, 3), groups=4), 2 / (16 * 9 + 16 * 9)),
    (fans.conv((64, 32, 3, 3), stride=2), 2 / (32 * 9 + 64 * 9 / 4)),
    (fans.conv_transpose((64, 32, 4, 4), stride=2), 2 / (64 * 4 + 32 * 16)),
]


@pytest.mark.parametrize("gain", [1.0, 5 / 3])
@pytest.mark.parametrize(("layout", "variance"), LAYOUTS)
def test_the_law_of_glorot_and_bengio(layout, variance, gain, draw):
    std = gain * math.sqrt(variance)
    bound = math.sqrt(3) * std
    for initializer, law in [
        (XavierNormal(gain), stats.norm(0, std)),
        (XavierUniform(gain), stats.uniform(-bound, 2 * bound)),
    ]:
        assert initializer.std_for(layout) == pytest.approx(std, rel=1e-14)
        values = draw(initializer, layout).ravel().astype(np.float64)
        assert stats.kstest(values, law.cdf).pvalue > 1e-6


def test_uniform_bound_is_equation_16(draw):
    """±√6/√(fan_in + fan_out): the largest of n = 150,000 values is 1 - 14/n or more of it."""
    layout = fans.linear((300, 500))
    out = draw(XavierUniform(), layout)
    bound = math.sqrt(6) / math.sqrt(800)
    assert bound * (1 - 14 / out.size) < np.abs(out).max() <= bound


def test_forward_and_backward_share_the_loss(draw):
    """Forward variance ×2n/(n+m), backward ×2m/(n+m): their mean is 1. 4.9 standard errors."""
    n, m = 300, 500
    weight = draw(XavierNormal(), fans.linear((m, n))).astype(np.float64)
    error = 4.9 * math.sqrt(2 / (n * m))
    assert np.square(weight).sum(1).mean() == pytest.approx(2 * n / (n + m), rel=error)
    assert np.square(weight).sum(0).mean() == pytest.approx(2 * m / (n + m), rel=error)


@pytest.mark.parametrize("kind", [XavierNormal, XavierUniform])
@pytest.mark.parametrize("gain", [0, -1.0, math.nan, math.inf, "1", None])
def test_bad_gain(kind, gain):
    with pytest.raises(ArgumentError, match=rf"{kind.__name__}\(gain="):
        kind(gain)


@pytest.mark.parametrize("kind", [XavierNormal, XavierUniform])
def test_a_vector_has_no_fans(kind, draw):
    with pytest.raises(ArgumentError, match=r"vector of shape \(5,\).*Zeros\(\)"):
        draw(kind(), fans.vector((5,)))
