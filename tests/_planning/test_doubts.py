"""What a plan says where no initial values fit."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit

X = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))


class Packed(nn.Module):
    """One parameter of several parts, and a layer."""

    def __init__(self, shape, forward):
        super().__init__()
        self.p, self.last, self._forward = (
            nn.Parameter(torch.ones(shape)),
            nn.Linear(64, 64),
            forward,
        )

    def forward(self, x):
        return self.last(self._forward(self.p, x).relu())


def two_layers(p, x):
    first, second = p.split([64 * 256, 256 * 64])
    hidden = functional.linear(x, first.view(256, 64)).relu()
    return functional.linear(hidden, second.view(64, 256))


def attention(p, x):
    q, k, v = (functional.linear(x, w) for w in p.chunk(3))
    return torch.softmax(q @ k.mT / 8, -1) @ v


@pytest.mark.parametrize(
    ("shape", "forward", "needs"),
    [
        (2 * 64 * 256, two_layers, ["64 inputs", "256 inputs"]),
        ((64, 65), lambda p, x: functional.linear(x, p[:, :-1], p[:, -1]), ["a weight", "a bias"]),
        ((2, 64), lambda p, x: x * p[0] + p[1], ["a scale that starts at 1", "a shift"]),
    ],
    ids=["two layers", "a bias in the last column", "a scale and a shift"],
)
def test_parts_that_need_different_values_are_named(shape, forward, needs):
    (warning,) = isoinit.plan(Packed(shape, forward), X).warnings
    assert warning.startswith("'p' holds parts that need different initial values")
    for need in needs:
        assert need in warning


@pytest.mark.parametrize(
    ("shape", "forward"),
    [
        ((192, 64), attention),
        ((2, 64), lambda p, x: x * (1 + p[0]) + p[1]),
        ((2, 64), lambda p, x: (x + p[0]).relu() + p[1]),
        (64 * 64, lambda p, x: functional.linear(x, p.view(64, 64))),
    ],
    ids=["queries, keys and values", "both start at 0", "two biases", "one flat weight"],
)
def test_parts_that_need_the_same_values_are_not(shape, forward):
    assert not isoinit.plan(Packed(shape, forward), X.view(2, 4, 64)).warnings
