"""Fixed values: exact in every type, and what the structured ones do to a signal."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from isoinit.errors import ArgumentError
from isoinit.initializers import Constant, Dirac, GateBias, Identity, Ones, Zeros
from isoinit.initializers.scale import fans


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(
    ("initializer", "value"), [(Zeros(), 0), (Ones(), 1), (Constant(-0.3), -0.3)]
)
def test_one_value_everywhere(initializer, value, dtype, draw):
    layout = fans.linear((3, 5))
    assert (draw(initializer, layout, dtype) == dtype(value)).all()
    assert initializer.std_for(layout) == 0
    assert initializer.is_constant


@pytest.mark.parametrize(
    ("initializer", "bits"), [(Zeros(), 0), (Ones(), 0x3F80), (Constant(-2), 0xC000)]
)
def test_one_value_in_bfloat16(initializer, bits, draw):
    assert (draw(initializer, fans.vector((4,)), np.uint16) == bits).all()


def test_gate_bias_opens_torchs_forget_gate(draw):
    """With weights zero, c' = sigmoid(forget bias)·c: the input gate adds tanh(0) = 0."""
    cell = nn.LSTMCell(3, 2)
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    bias = draw(GateBias(val=1.5), fans.vector((8,)))
    cell.bias_hh.data.copy_(torch.from_numpy(bias))
    _, state = cell(torch.zeros(1, 3), (torch.zeros(1, 2), torch.ones(1, 2)))
    torch.testing.assert_close(state, torch.full((1, 2), 1.5).sigmoid())


def test_gate_bias_touches_its_gate_alone(draw):
    layout = fans.vector((12,))
    bias = draw(GateBias(val=-2.0, gate=0, gates=3), layout)
    np.testing.assert_array_equal(bias, [-2] * 4 + [0] * 8)
    assert GateBias(val=-2.0, gate=0, gates=3).std_for(layout) == pytest.approx(bias.std())


def test_identity_block_by_block(draw):
    layout = fans.linear((12, 4), 3)
    np.testing.assert_array_equal(draw(Identity(), layout), np.tile(np.eye(4), (3, 1)))
    packed = fans.linear((4, 8), 2, transposed=True)
    np.testing.assert_array_equal(
        draw(Identity(0.01), packed), np.float32(0.01) * np.tile(np.eye(4), 2)
    )


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_identity_is_torchs_eye(shape, draw):
    layout = fans.linear(shape)
    found = draw(Identity(), layout)
    np.testing.assert_array_equal(found, nn.init.eye_(torch.empty(shape)).numpy())
    assert Identity(-3).std_for(layout) == pytest.approx(3 * math.sqrt(np.mean(found**2)))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel", [(3,), (3, 5), (1, 3, 3)])
@pytest.mark.parametrize("transposed", [False, True])
def test_dirac_hands_the_channels_through(kernel, groups, transposed, draw):
    kind = ("ConvTranspose" if transposed else "Conv") + f"{len(kernel)}d"
    padding = [size // 2 for size in kernel]
    layer = getattr(nn, kind)(4, 4, kernel, padding=padding, groups=groups, bias=False)
    layout = (fans.conv_transpose if transposed else fans.conv)(layer.weight.shape, groups)
    weight = draw(Dirac(), layout)
    layer.weight.data.copy_(torch.from_numpy(weight))
    x = torch.randn(2, 4, *[7] * len(kernel), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), x)
    assert Dirac().std_for(layout) == pytest.approx(math.sqrt(np.mean(weight**2)))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Constant("x"), "val='x'"),
        (lambda: GateBias(val=math.nan), "val=nan"),
        (lambda: GateBias(gates=0), "gates=0"),
        (lambda: GateBias(gates=4.5), "gates=4.5.*integer"),
        (lambda: GateBias(gate=4), "gate=4"),
        (lambda: GateBias(gate=-1), "gate=-1"),
        (lambda: GateBias(gate=1.5), "gate=1.5.*integer"),
        (lambda: Identity(gain=math.inf), "gain=inf"),
    ],
)
def test_bad_options(make, named):
    with pytest.raises(ArgumentError, match=named):
        make()


@pytest.mark.parametrize(
    ("initializer", "layout", "named"),
    [
        (GateBias(), fans.vector((6,)), r"divisible by 4 \(gates\), found shape \(6,\)"),
        (Identity(), fans.vector((6,)), r"vector of shape \(6,\)"),
        (Identity(), fans.conv((4, 4, 3)), r"Dirac\(\)"),
        (Dirac(), fans.linear((4, 4)), r"Identity\(\)"),
        (Dirac(), fans.vector((4,)), r"\(4,\)"),
    ],
)
def test_layouts_that_do_not_fit(initializer, layout, named, draw):
    with pytest.raises(ArgumentError, match=named):
        draw(initializer, layout)
