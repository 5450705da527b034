"""Convolution kernels that are stored in another order than torch takes them."""

import numpy as np
import pytest
import torch
from torch import nn

import isoinit
from isoinit.initializers.scale import fans


class Conv(nn.Module):
    """A convolution whose kernel is made by a rearrangement of a parameter."""

    def __init__(self, stored, turned, function=nn.functional.conv2d, **options):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(stored))
        self.turned, self.function, self.options = turned, function, options

    def forward(self, x):
        return self.function(x, self.turned(self.kernel), **self.options)


def copied(kernel):
    """Keras's way: the kernel is permuted, and copied to an order of memory with channels last."""
    return kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)


def depthwise(kernel):
    """(h, w, in, multiplier) with one group for each input channel."""
    h, w, n, multiplier = kernel.shape
    return kernel.reshape(h, w, 1, n * multiplier).permute(3, 2, 0, 1)


X = torch.randn(2, 4, 9, 9)
LAST = ((3, 5, 4, 6), lambda k: k.permute(3, 2, 0, 1))
CASES = {
    "taps, in, out": (Conv(*LAST), fans.conv((6, 4, 3, 5))),
    "strided": (Conv(*LAST, stride=2), fans.conv((6, 4, 3, 5), stride=2)),
    "copied": (Conv((3, 5, 4, 6), copied), fans.conv((6, 4, 3, 5))),
    "permuted copy": (
        Conv((3, 5, 4, 6), lambda k: k.permute(2, 3, 0, 1).contiguous().transpose(0, 1)),
        fans.conv((6, 4, 3, 5)),
    ),
    "groups": (
        Conv((3, 5, 2, 6), lambda k: k.permute(3, 2, 0, 1), groups=2),
        fans.conv((6, 2, 3, 5), groups=2),
    ),
    "depthwise": (Conv((3, 3, 4, 2), depthwise, groups=4), fans.conv((8, 1, 3, 3), groups=4)),
    "transposed": (
        Conv(
            (2, 2, 6, 4), lambda k: k.permute(3, 2, 0, 1), nn.functional.conv_transpose2d, stride=2
        ),
        fans.conv_transpose((4, 6, 2, 2), stride=2),
    ),
    "one tap": (Conv((1, 1, 4, 6), lambda k: k.permute(3, 2, 0, 1)), fans.conv((6, 4, 1, 1))),
}


@pytest.mark.parametrize("case", CASES)
def test_fans_are_those_of_the_kernel_as_torch_takes_it(case):
    model, taken = CASES[case]
    entry = isoinit.plan(model, X, keep="nothing")["kernel"]
    layout = entry.layout
    assert (layout.fan_in, layout.fan_out) == (taken.fan_in, taken.fan_out)
    assert layout.maps_shape == taken.maps_shape
    assert layout.shape == tuple(model.kernel.shape)
    assert layout.kind == taken.kind


@pytest.mark.parametrize("case", CASES)
def test_the_maps_are_those_of_the_kernel_as_torch_takes_it(case):
    """Numbered elements come to the same map, output, input and tap on both ways."""
    model, taken = CASES[case]
    layout = isoinit.plan(model, X, keep="nothing")["kernel"].layout
    numbers = torch.arange(model.kernel.numel(), dtype=torch.float64).reshape(model.kernel.shape)
    np.testing.assert_array_equal(
        layout.to_maps(numbers.numpy()), taken.to_maps(model.turned(numbers).contiguous().numpy())
    )
    np.testing.assert_array_equal(layout.from_maps(layout.to_maps(numbers.numpy())), numbers)


def test_a_gate_of_a_kernel_that_holds_several():
    """Each is a map of its own: its fans are those of the gate, as a packed matrix has them."""
    model = Conv((3, 5, 4, 24), lambda k: k[..., 6:12].permute(3, 2, 0, 1))
    layout = isoinit.plan(model, X, keep="nothing")["kernel"].layout
    gate = fans.conv((6, 4, 3, 5))
    assert (layout.fan_in, layout.fan_out) == (gate.fan_in, gate.fan_out)
    numbers = torch.arange(model.kernel.numel(), dtype=torch.float64).reshape(model.kernel.shape)
    np.testing.assert_array_equal(
        layout.to_maps(numbers.numpy())[1], model.turned(numbers).reshape(6, 4, 15).numpy()
    )


def test_parameters_that_lie_in_memory_in_another_order_than_their_axes():
    """A transposed view of its memory, and a kernel with its channels last."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.square = nn.Parameter(torch.randn(6, 6).T)
            self.wide = nn.Parameter(torch.randn(3, 6).T)
            kernel = torch.randn(6, 4, 3, 5).contiguous(memory_format=torch.channels_last)
            self.kernel = nn.Parameter(kernel)

        def forward(self, x):
            return nn.functional.conv2d(x, self.kernel).mean((2, 3)) @ self.square @ self.wide

    plan = isoinit.plan(Net(), X, keep="nothing")
    for name in ("square", "wide"):
        assert (plan[name].layout.in_, plan[name].layout.out) == ((0,), (1,))
    assert plan["kernel"].layout == fans.conv((6, 4, 3, 5))


def test_orthogonal_kernels_are_so_in_the_order_that_torch_takes():
    model, _ = CASES["copied"]
    isoinit.init(model, X, seed=0, overrides={"kernel": isoinit.Orthogonal()}, keep="nothing")
    rows = model.turned(model.kernel.detach()).flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(6), atol=1e-5, rtol=0)


def test_a_copy_of_a_view_is_read_by_where_its_elements_come_from():
    """A matrix product with a transposed copy: the copy's own order in memory says nothing."""

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 4, 6))

        def forward(self, x):  # (in, a, b) is taken as (b, in, a), summed over b and in
            return torch.tensordot(x, self.weight.permute(2, 0, 1).contiguous(), 2)

    layout = isoinit.plan(Product(), torch.randn(5, 6, 8), keep="nothing")["weight"].layout
    assert (layout.fan_in, layout.fan_out) == (48, 4)
    assert (layout.in_, layout.out) == ((0, 2), (1,))
