"""He: the published variances, and the second moment that they keep through an activation.

Seeds are fixed; a correct library fails a check under one seed in a million (p < 1e-6).
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from isoinit.errors import ArgumentError
from isoinit.initializers import HeNormal, HeUniform
from isoinit.initializers.scale import fans

DENSE = fans.linear((300, 500))
KERNEL = fans.conv((64, 16, 3, 3), groups=4)  # fan-in 16·9, fan-out 64/4·9

CASES = [
    ({}, DENSE, 2 / 500),
    ({"mode": "fan_out"}, DENSE, 2 / 300),
    ({"mode": "fan_avg"}, DENSE, 2 / 400),
    ({"a": 0.25}, DENSE, 2 / (1.0625 * 500)),
    ({"a": math.sqrt(5)}, DENSE, 1 / (3 * 500)),  # what torch gives its Linear
    ({"nonlinearity": "relu"}, KERNEL, 2 / 144),
    ({"nonlinearity": "linear"}, KERNEL, 1 / 144),
    ({"nonlinearity": "selu", "a": 9.0}, DENSE, 1 / 500),
    ({"gain": 3.0, "nonlinearity": "gelu"}, DENSE, 9 / 500),
    ({}, fans.conv_transpose((32, 64, 4, 4), stride=2), 2 / (32 * 16 / 4)),
]


@pytest.mark.parametrize(("options", "layout", "variance"), CASES)
def test_the_law_of_he_et_al(options, layout, variance, draw):
    std = math.sqrt(variance)
    bound = math.sqrt(3) * std
    for kind, law in [
        (HeNormal, stats.norm(0, std)),
        (HeUniform, stats.uniform(-bound, 2 * bound)),
    ]:
        assert kind(**options).std_for(layout) == pytest.approx(std, rel=1e-9)
        values = draw(kind(**options), layout).ravel().astype(np.float64)
        assert stats.kstest(values, law.cdf).pvalue > 1e-6


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", torch.relu),
        ("gelu", torch.nn.functional.gelu),
        ("tanh", torch.tanh),
        ("mish", torch.nn.functional.mish),
    ],
)
def test_the_signal_keeps_its_size(name, function, draw):
    """Var(Wφ(z)) = 1 over 1000 units and 200 inputs z; measured to 4.9 standard errors.

    The variance of a unit is |φ(z)|² gain²/n: relative error √(2/units) from the weights, and
    √((κ-1)/(n·inputs)) from φ² over all z, κ below 8 here.
    """
    n, units, inputs = 500, 1000, 200
    weight = torch.from_numpy(draw(HeNormal(nonlinearity=name), fans.linear((units, n))))
    z = torch.randn(n, inputs, generator=torch.Generator().manual_seed(0))
    signal = (weight @ function(z)).square().mean().item()
    # All inputs share the weights; their φ(z) overlap by E[φ]²/E[φ²] < 1, so count them once.
    error = 4.9 * (math.sqrt(2 / units) + math.sqrt(7 / (n * inputs)))
    assert signal == pytest.approx(1, abs=error)


def test_the_gain_is_worked_out_once_and_kept():
    assert HeNormal().gain == math.sqrt(2)
    assert HeNormal(gain=1.5).gain == 1.5
    assert HeNormal() == HeNormal(gain=math.sqrt(2))


@pytest.mark.parametrize("kind", [HeNormal, HeUniform])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"a": math.nan}, "a=nan"),
        ({"a": "0"}, "a='0'"),
        ({"mode": "fan_mean"}, "mode='fan_mean'"),
        ({"mode": None}, "mode=None"),
        ({"nonlinearity": "rlu"}, "nonlinearity='rlu'"),
        ({"gain": 0}, "gain=0"),
        ({"gain": -1.0}, "gain=-1.0"),
        ({"gain": math.inf}, "gain=inf"),
    ],
)
def test_bad_options(kind, options, named):
    with pytest.raises(ArgumentError, match=named):
        kind(**options)


@pytest.mark.parametrize("kind", [HeNormal, HeUniform])
def test_a_vector_has_no_fans(kind, draw):
    with pytest.raises(ArgumentError, match=r"vector of shape \(5,\)"):
        draw(kind(), fans.vector((5,)))
