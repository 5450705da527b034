"""Fans against hand counts, against connections counted by torch, and the maps they stand for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from isoinit.errors import ArgumentError
from isoinit.initializers.scale import fans

# Layer, parameter, its layout, fan-in and fan-out by hand, and why.
LAYERS = [
    (nn.Linear(30, 20), "weight", fans.linear, {}, 30, 20, "every output sums every input"),
    (Conv1D(20, 30), "weight", fans.linear, {"transposed": True}, 30, 20, "stored (in, out)"),
    (
        *(Conv1D(60, 20), "weight", fans.linear, {"blocks": 3, "transposed": True}, 20, 20),
        "GPT-2's c_attn: q, k and v side by side, each 20 to 20",
    ),
    (
        *(nn.Bilinear(4, 6, 5), "weight", fans.bilinear, {}, 24, 25),
        "4·6 products sum up; an x1 meets 6 of them an output, an x2 meets 4: 5·(6+4)/2",
    ),
    (nn.Embedding(100, 8), "weight", fans.embedding, {}, 1, 8, "one row is read, nothing summed"),
    (
        *(nn.EmbeddingBag(100, 8, mode="sum"), "weight", fans.embedding, {"bag": 6}, 6, 8),
        "the rows of a bag of 6 sum up",
    ),
    (nn.Conv1d(8, 12, 5), "weight", fans.conv, {}, 40, 60, "8·5 in, 12·5 out"),
    (nn.Conv2d(8, 12, (3, 5)), "weight", fans.conv, {}, 120, 180, "8·15 in, 12·15 out"),
    (nn.Conv3d(2, 3, (2, 3, 4)), "weight", fans.conv, {}, 48, 72, "2·24 in, 3·24 out"),
    (
        *(nn.Conv2d(8, 12, 3, groups=4), "weight", fans.conv, {"groups": 4}, 18, 27),
        "a group connects 8/4 channels with 12/4",
    ),
    (
        *(nn.Conv2d(8, 16, 3, groups=8), "weight", fans.conv, {"groups": 8}, 9, 18),
        "depthwise: a channel sees itself alone and makes 16/8 channels",
    ),
    (
        *(nn.Conv2d(8, 12, 3, stride=2), "weight", fans.conv, {"stride": 2}, 72, 27),
        "every other position in both directions has an output: 12·9/4",
    ),
    (
        *(nn.Conv2d(8, 12, 3, stride=(2, 1)), "weight", fans.conv, {"stride": (2, 1)}, 72, 54),
        "every other row has outputs: 12·9/2",
    ),
    (
        *(nn.Conv2d(8, 12, 3, dilation=2), "weight", fans.conv, {}, 72, 108),
        "dilation moves the taps and leaves their number",
    ),
    (nn.ConvTranspose1d(8, 12, 5), "weight", fans.conv_transpose, {}, 40, 60, "roles swap"),
    (
        *(nn.ConvTranspose2d(8, 12, 4, stride=2), "weight", fans.conv_transpose, {"stride": 2}),
        *(32, 192, "of 16 taps, 16/4 reach an output; an input reaches them all"),
    ),
    (
        *(nn.ConvTranspose2d(8, 12, 3, stride=2), "weight", fans.conv_transpose, {"stride": 2}),
        *(18, 108, "9/4 taps reach an output on average: 1, 2, 2 or 4 by position"),
    ),
    (
        *(nn.ConvTranspose2d(8, 12, 4, stride=2, groups=4), "weight", fans.conv_transpose),
        *({"stride": 2, "groups": 4}, 8, 48, "8/4 channels by 16/4 taps; 12/4 channels by 16"),
    ),
    (
        *(nn.ConvTranspose3d(2, 3, 2, stride=2), "weight", fans.conv_transpose, {"stride": 2}),
        *(2, 24, "8 taps, of which 8/8 reach an output"),
    ),
    (
        *(nn.MultiheadAttention(16, 4), "in_proj_weight", fans.linear, {"blocks": 3}, 16, 16),
        "q, k and v are three layers: not one of 16 to 48",
    ),
    (
        *(nn.MultiheadAttention(16, 4, kdim=10, vdim=6), "q_proj_weight", fans.linear, {}),
        *(16, 16, "a query projects the model's width"),
    ),
    (
        *(nn.MultiheadAttention(16, 4, kdim=10, vdim=6), "k_proj_weight", fans.linear, {}),
        *(10, 16, "a key projects kdim"),
    ),
    (nn.RNN(10, 6), "weight_ih_l0", fans.linear, {}, 10, 6, "one block: a plain recurrence"),
    (nn.LSTM(10, 6), "weight_ih_l0", fans.linear, {"blocks": 4}, 10, 6, "four gates of 6 units"),
    (nn.LSTM(10, 6), "weight_hh_l0", fans.linear, {"blocks": 4}, 6, 6, "the state feeds itself"),
    (
        *(nn.LSTM(10, 6, proj_size=3), "weight_hh_l0", fans.linear, {"blocks": 4}, 3, 6),
        "the state is projected to 3 before it comes back",
    ),
    (nn.GRU(10, 6), "weight_ih_l0", fans.linear, {"blocks": 3}, 10, 6, "three gates of 6 units"),
    (nn.GRU(10, 6), "weight_hh_l0", fans.linear, {"blocks": 3}, 6, 6, "three gates of 6 units"),
]


@pytest.mark.parametrize(
    ("layer", "name", "layout", "options", "fan_in", "fan_out", "why"),
    LAYERS,
    ids=[f"{type(row[0]).__name__}.{row[1]}-{row[-1]}" for row in LAYERS],
)
def test_fans_by_hand(layer, name, layout, options, fan_in, fan_out, why):
    found = layout(getattr(layer, name).shape, **options)
    assert (found.fan_in, found.fan_out) == (fan_in, fan_out), why
    assert found.is_map


def test_a_contraction_counts_what_its_axes_do():
    """Mixture of 8 experts, 64 to 256: the experts are independent layers."""
    experts = fans.contraction((8, 64, 256), stack=[0], in_=[1], out=[2])
    assert (experts.fan_in, experts.fan_out) == (64, 256)
    heads = fans.contraction((4, 16, 32), in_=[2], out=[0, 1])
    assert (heads.fan_in, heads.fan_out) == (32, 64)


@pytest.mark.parametrize("shape", [(3, 5), (6, 4, 3), (6, 4, 3, 2), (6, 4, 2, 2, 2)])
def test_a_shape_alone_has_the_fans_that_torch_takes(shape):
    layout = fans.of_tensor(shape)
    known = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert (layout.fan_in, layout.fan_out) == known


@pytest.mark.parametrize("shape", [(), (7,), (3, 4)])
def test_a_vector_has_no_fans(shape):
    layout = fans.vector(shape)
    assert not layout.is_map
    assert (layout.fan_in, layout.fan_out) == (1, 1)


def test_padding_counts_from_the_end_too():
    assert fans.embedding((10, 4), padding=3).padding == 3
    assert fans.embedding((10, 4), padding=-1).padding == 9
    assert fans.embedding((10, 4)).padding is None


# ---------------------------------------------------------------- connections, counted

CONVOLUTIONS = [
    nn.Conv1d(3, 5, 4),
    nn.Conv1d(3, 5, 4, stride=3),
    nn.Conv2d(4, 6, (3, 2), groups=2, stride=(2, 3)),
    nn.Conv2d(4, 4, 3, groups=4, dilation=2),
    nn.ConvTranspose1d(3, 5, 4, stride=3),
    nn.ConvTranspose1d(3, 5, 3, stride=4),
    nn.ConvTranspose2d(4, 6, (3, 2), groups=2, stride=(2, 3)),
    nn.ConvTranspose3d(2, 2, 3, stride=2),
]


def mean_of_interior(values, period):
    """The mean over the middle of each spatial axis, a whole number of periods long."""
    for axis, length in enumerate(period, start=2):
        size = values.shape[axis]
        values = values.narrow(axis, (size - 6 * length) // 2, 6 * length)
    return values.mean().item()


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
def test_torch_counts_the_same_connections(layer):
    """With ones everywhere an output is its number of terms, a gradient the number of its uses."""
    layer = layer.double().requires_grad_(False)
    layer.weight.fill_(1), layer.bias.fill_(0)
    dims, transposed = layer.weight.dim() - 2, "Transpose" in type(layer).__name__
    layout = (fans.conv_transpose if transposed else fans.conv)(
        layer.weight.shape, layer.groups, layer.stride
    )
    size = {1: 60, 2: 36, 3: 14}[dims] * (1 if transposed else 2)
    inputs = torch.ones(1, layer.in_channels, *[size] * dims, dtype=torch.float64)
    outputs = layer(inputs.requires_grad_())
    outputs.sum().backward()
    one = (1,) * dims
    forward = mean_of_interior(outputs.detach(), layer.stride if transposed else one)
    backward = mean_of_interior(inputs.grad, one if transposed else layer.stride)
    assert forward == pytest.approx(layout.fan_in, rel=1e-12)
    assert backward == pytest.approx(layout.fan_out, rel=1e-12)


def test_torch_counts_the_products_of_a_bilinear_form():
    layer = nn.Bilinear(4, 6, 5, bias=False).requires_grad_(False)
    layer.weight.fill_(1)
    first, second = torch.ones(1, 4, requires_grad=True), torch.ones(1, 6, requires_grad=True)
    outputs = layer(first, second)
    outputs.sum().backward()
    layout = fans.bilinear(layer.weight.shape)
    assert (outputs == layout.fan_in).all()
    assert (first.grad.mean() + second.grad.mean()) / 2 == layout.fan_out


# ---------------------------------------------------------------- maps

sizes = st.integers(1, 4)


@st.composite
def layouts(draw):
    a, b, blocks, taps = (
        draw(sizes),
        draw(sizes),
        draw(sizes),
        draw(st.lists(sizes, min_size=1, max_size=3)),
    )
    order = draw(st.permutations(range(4)))
    return draw(
        st.sampled_from(
            [
                fans.linear((blocks * a, b), blocks),
                fans.linear((b, blocks * a), blocks, transposed=True),
                fans.conv((blocks * a, b, *taps), blocks, stride=2),
                fans.conv_transpose((blocks * a, b, *taps), blocks),
                fans.contraction((a, b, blocks, 2), stack=order[:1], in_=order[1:3], out=order[3:]),
                fans.bilinear((a, b, blocks)),
                fans.embedding((a, b)),
                fans.vector((a,)),
            ]
        )
    )


@given(layouts())
def test_maps_and_stored_tensor_are_two_views_of_one(layout):
    stored = np.arange(math.prod(layout.shape)).reshape(layout.shape)
    maps = layout.to_maps(stored)
    assert maps.shape == layout.maps_shape
    assert sorted(maps.ravel()) == list(range(stored.size))
    np.testing.assert_array_equal(layout.from_maps(maps), stored)
    np.testing.assert_array_equal(layout.to_maps(layout.from_maps(maps)), maps)


@given(g=sizes, o=sizes, i=sizes, t=sizes)
def test_maps_hold_what_each_layer_stores(g, o, i, t):
    """Block g, output o, input i, tap t, at the index where torch's documentation puts it."""
    block, out, in_, tap = np.indices((g, o, i, t))
    stored = np.random.default_rng(0).random

    gates = stored((g * o, i))
    np.testing.assert_array_equal(
        fans.linear(gates.shape, g).to_maps(gates), gates[block * o + out, in_][..., :1]
    )
    packed = stored((i, g * o))
    np.testing.assert_array_equal(
        fans.linear(packed.shape, g, transposed=True).to_maps(packed),
        packed[in_, block * o + out][..., :1],
    )
    kernel = stored((g * o, i, t))
    np.testing.assert_array_equal(
        fans.conv(kernel.shape, g).to_maps(kernel), kernel[block * o + out, in_, tap]
    )
    kernel = stored((g * i, o, t))
    np.testing.assert_array_equal(
        fans.conv_transpose(kernel.shape, g).to_maps(kernel), kernel[block * i + in_, out, tap]
    )


def test_the_kernel_is_its_taps():
    assert fans.conv((4, 2, 3, 5)).kernel == (3, 5)
    assert fans.linear((4, 2)).kernel == ()


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("layout", "arguments", "named"),
    [
        (fans.linear, ((5,),), r"2 axes, found shape \(5,\)"),
        (fans.linear, ((2, 3, 4),), "2 axes"),
        (fans.linear, ((10, 4), 3), "10 entries, which is not divisible by 3"),
        (fans.linear, ((10, 4), 0), "not divisible by 0"),
        (fans.conv, ((4, 3),), "3 or more axes"),
        (fans.conv, ((4, 3, 3), 3), "4 entries, which is not divisible by 3"),
        (fans.conv, ((4, 3, 3), 2.0), "2.0"),
        (fans.conv_transpose, ((4, 3, 3), 3), "input axis"),
        (fans.bilinear, ((2, 3),), "3 axes"),
        (fans.bilinear, ((2, 3, 4, 5),), "3 axes"),
        (fans.embedding, ((2, 3, 4),), "2 axes"),
    ],
)
def test_a_shape_that_does_not_fit(layout, arguments, named):
    with pytest.raises(ArgumentError, match=named):
        layout(*arguments)


@pytest.mark.parametrize(
    "axes", [{"in_": [0], "out": [0]}, {"in_": [0], "out": [2]}, {"in_": [], "out": [1]}]
)
def test_a_contraction_names_each_axis_once(axes):
    with pytest.raises(ArgumentError, match="each axis"):
        fans.contraction((2, 3), **axes)
