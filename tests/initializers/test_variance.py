"""Each scaled initializer has the closed-form variance, for every kind of layer.

Seeds are fixed; a correct library fails a case under one seed in a million (`ALARM`). A case holds
the variance to 0.5 % or better, and all kinds of layers together to 0.1 %.
"""

import math

import numpy as np
import pytest
import torch
from scipy.special import erfc
from torch import nn

from checkers import ALARM
from isoinit._drawing.streams import Stream
from isoinit.initializers import (
    HeNormal,
    HeUniform,
    LeCunNormal,
    LeCunUniform,
    XavierNormal,
    XavierUniform,
)
from isoinit.initializers.scale import fans

# Fan-in and fan-out by hand: terms that add up in an output, outputs that an input reaches.
KINDS = {
    "linear": (fans.linear((2048, 1024)), 1024, 2048),
    "stored (in, out)": (fans.linear((1024, 2048), transposed=True), 1024, 2048),
    "packed q, k, v": (fans.linear((3 * 768, 768), 3), 768, 768),
    "GRU's gates": (fans.linear((3 * 512, 900), 3), 900, 512),
    "LSTM's gates": (fans.linear((4 * 512, 900), 4), 900, 512),
    "convolution in 1": (fans.conv((512, 256, 9)), 256 * 9, 512 * 9),
    "convolution in 2": (fans.conv((256, 512, 3, 3), stride=2), 512 * 9, 256 * 9 / 4),
    "convolution in 3": (fans.conv((128, 256, 3, 3, 3)), 256 * 27, 128 * 27),
    "grouped": (fans.conv((2048, 64, 3, 3), groups=32), 64 * 9, 64 * 9),
    "depthwise": (fans.conv((2**17, 1, 3, 3), groups=2**16), 9, 18),
    "transposed": (fans.conv_transpose((512, 256, 4, 4), stride=2), 512 * 4, 256 * 16),
    "transposed, grouped": (fans.conv_transpose((512, 64, 4, 4), 8, 2), 64 * 4, 64 * 16),
    "bilinear": (fans.bilinear((128, 100, 120)), 12_000, 128 * 110),
    "embedding": (fans.embedding((4096, 512)), 1, 512),
    "experts": (fans.contraction((8, 512, 384), stack=[0], in_=[1], out=[2]), 512, 384),
}
RECIPES = [  # and the variance by the papers' equations
    (LeCunNormal(), lambda n, m: 1 / n),
    (LeCunUniform(), lambda n, m: 1 / n),
    (XavierNormal(), lambda n, m: 2 / (n + m)),
    (XavierUniform(gain=5 / 3), lambda n, m: 25 / 9 * 2 / (n + m)),
    (HeNormal(), lambda n, m: 2 / n),
    (HeUniform(mode="fan_out"), lambda n, m: 2 / m),
    (HeNormal(a=0.2, mode="fan_avg"), lambda n, m: 2 / 1.04 / ((n + m) / 2)),
]


def p_value(squares, count, kurtosis):
    """Of a sum of squares of standardized values."""
    return erfc(abs(squares / count - 1) * math.sqrt(count / (kurtosis - 1) / 2))


@pytest.mark.parametrize(
    ("initializer", "variance"),
    RECIPES,
    ids=lambda value: "" if callable(value) else str(value)[:60],
)
def test_the_variance(initializer, variance):
    kurtosis = 9 / 5 if "Uniform" in type(initializer).__name__ else 3
    total, count = 0.0, 0
    for name, (layout, fan_in, fan_out) in KINDS.items():
        assert (layout.fan_in, layout.fan_out) == (fan_in, fan_out), name
        expected = variance(fan_in, fan_out)
        assert initializer.std_for(layout) == pytest.approx(math.sqrt(expected), rel=1e-12), name
        weight, squares = np.empty(math.prod(layout.shape), np.float32), 0.0
        for seed in range(3):
            initializer.fill(weight, Stream(seed, name), layout)
            squares += float(weight @ weight) / expected
        assert p_value(squares, 3 * weight.size, kurtosis) > ALARM, name
        total, count = total + squares, count + 3 * weight.size
    assert p_value(total, count, kurtosis) > ALARM
    for wrong in (0.999, 1.001):
        assert p_value(total * wrong**2, count, kurtosis) < ALARM  # so much is noticed


@pytest.mark.parametrize("kind", ["linear", "convolution in 1", "convolution in 3"])
def test_the_standard_deviations_of_torch_where_it_is_right(kind):
    """By its own formula for gain and fans, `nn.init._calculate_fan_in_and_fan_out`."""
    layout = KINDS[kind][0]
    weight = torch.empty(layout.shape, device="meta")
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    gain = nn.init.calculate_gain("leaky_relu", 0.2)
    assert HeNormal(a=0.2).std_for(layout) == pytest.approx(gain / math.sqrt(fan_in))
    assert HeNormal(mode="fan_out").std_for(layout) == pytest.approx(math.sqrt(2 / fan_out))
    assert XavierNormal().std_for(layout) == pytest.approx(math.sqrt(2 / (fan_in + fan_out)))
