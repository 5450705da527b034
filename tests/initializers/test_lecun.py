"""LeCun: variance 1/fan_in, and the fixed point of SELU that needs it.

Seeds are fixed; a correct library fails a check under one seed in a million (p < 1e-6).
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from isoinit.errors import ArgumentError
from isoinit.initializers import LeCunNormal, LeCunUniform
from isoinit.initializers.scale import fans

LAYOUTS = [
    (fans.linear((300, 500)), 500),
    (fans.linear((800, 100), 4), 100),
    (fans.conv((64, 16, 3, 3), groups=4), 144),
    (fans.conv_transpose((32, 64, 4, 4), stride=2), 128),
    (fans.bilinear((20, 30, 40)), 1200),
    (fans.embedding((500, 64), bag=9), 9),
]


@pytest.mark.parametrize(("layout", "fan_in"), LAYOUTS)
def test_law(layout, fan_in, draw):
    std = fan_in**-0.5
    bound = math.sqrt(3) * std
    for initializer, law in [
        (LeCunNormal(), stats.norm(0, std)),
        (LeCunUniform(), stats.uniform(-bound, 2 * bound)),
    ]:
        assert initializer.std_for(layout) == pytest.approx(std, rel=1e-14)
        values = draw(initializer, layout).ravel().astype(np.float64)
        assert stats.kstest(values, law.cdf).pvalue > 1e-6


def test_selu_keeps_mean_0_and_variance_1_through_50_layers(draw):
    """Klambauer et al. 2017: the fixed point attracts, so no layer drifts far from it.

    Width 1000, 100 inputs. A layer adds errors of about √(2/1000) = 0.045 to the variance and the
    fixed point's Jacobian (0.78 for the variance, their theorem 1) damps them to a standing 0.07.
    The bounds are 4.9 of these.
    """
    layout = fans.linear((1000, 1000))
    signal = torch.randn(1000, 100, generator=torch.Generator().manual_seed(0))
    for layer in range(50):
        weight = torch.from_numpy(draw(LeCunNormal(), layout, seed=layer))
        signal = torch.selu(weight @ signal)
    assert abs(signal.mean().item()) < 4.9 * 0.07
    assert signal.var().item() == pytest.approx(1, abs=4.9 * 0.07)


@pytest.mark.parametrize("kind", [LeCunNormal, LeCunUniform])
def test_a_vector_has_no_fans(kind, draw):
    with pytest.raises(ArgumentError, match=r"vector of shape \(5,\)"):
        draw(kind(), fans.vector((5,)))
