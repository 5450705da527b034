"""A constant times a parameter: a weight where it multiplies a signal, else a signal of its own."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit

BASIS, SQUARE = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0)).unbind()


class Net(nn.Module):
    """`w` and a constant `c` in a forward, before a layer."""

    def __init__(self, shape, constant, forward, last):
        super().__init__()
        self.w, self.last, self._forward = nn.Parameter(torch.ones(shape)), last, forward
        self.register_buffer("c", constant)

    def forward(self, x):
        return self._forward(self, x)


def conv(weight):
    return lambda m, x: m.last(functional.conv2d(x, weight(m).reshape(32, 16, 3, 3)).relu())


def dense(weight):
    return lambda m, x: m.last(functional.linear(x, weight(m)).relu())


SQUARES = {
    "c @ w": lambda m: m.c @ m.w,
    "w @ c": lambda m: m.w @ m.c,
    "transposed and scaled": lambda m: -(0.5 * (m.c @ m.w).T),
    "einsum": lambda m: torch.einsum("ij,jk->ki", m.c, m.w),
    "mm": lambda m: torch.mm(m.c, m.w),
}
STEERED = {
    "matmul": lambda m: m.w @ m.c,
    "einsum": lambda m: torch.einsum("oib,bk->oik", m.w, m.c),
    "tensordot": lambda m: torch.tensordot(m.w, m.c, 1),
    "summed": lambda m: (m.w[..., None] * m.c).sum(2),
}


def made(name, net, weight, x, std):
    """The plan fills `w` so that what is made of it has this standard deviation."""
    plan = isoinit.plan(net, x)
    plan.apply(net, seed=0)
    assert not plan.warnings
    assert weight(net).std().item() == pytest.approx(std, rel=0.05), name
    assert plan["w"].expected == pytest.approx(1, rel=0.15)  # the example's own second moment


@pytest.mark.parametrize("name", SQUARES)
def test_a_product_with_a_constant_is_a_weight_where_it_multiplies_the_signal(name):
    net = Net((64, 64), SQUARE, dense(SQUARES[name]), nn.Linear(64, 64))
    made(name, net, SQUARES[name], torch.randn(32, 64), 1 / math.sqrt(64))


def test_a_product_with_a_constant_is_a_weight_in_a_matrix_product():
    net = Net((64, 64), SQUARE, lambda m, x: m.last((x @ (m.c @ m.w)).relu()), nn.Linear(64, 64))
    made("x @ (c @ w)", net, SQUARES["c @ w"], torch.randn(32, 64), 1 / math.sqrt(64))


@pytest.mark.parametrize("name", STEERED)
def test_a_kernel_of_a_basis_is_scaled_by_its_own_fan_in(name):
    net = Net((32, 16, 5), BASIS[:5, :9], conv(STEERED[name]), nn.Conv2d(32, 8, 3))
    made(name, net, STEERED[name], torch.randn(8, 16, 9, 9), 1 / math.sqrt(16 * 9))


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.last(x + m.c @ m.w),
        lambda m, x: m.last(x + torch.relu(2 * (m.c @ m.w)).unsqueeze(0)),
        lambda m, x: (m.last(x), m.c @ m.w),
        lambda m, x: m.last(x * (m.c @ m.w)),
    ],
    ids=["added", "through functions", "returned", "multiplied elementwise"],
)
def test_a_product_with_a_constant_is_a_layer_elsewhere(forward):
    net = Net((64, 64), SQUARE, forward, nn.Linear(64, 64))
    entry = isoinit.plan(net, torch.randn(4, 64, 64))["w"]
    assert entry.initializer.std_for(entry.layout) == pytest.approx(1 / math.sqrt(64), rel=0.05)
    assert entry.expected == pytest.approx(1, rel=0.02)
