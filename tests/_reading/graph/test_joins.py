"""Residual sums and streams, worked out by hand."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from isoinit._reading.torch import trace


class Block(nn.Module):
    """A network with what a test needs, whose forward is the test's function."""

    def __init__(self, forward):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(8, 8) for _ in range(4))
        self.norm = nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.ones(8))
        self.bias = nn.Parameter(torch.zeros(8))
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


def ends(forward):
    """The parameters that end a branch of each residual sum, and the stream it belongs to."""
    graph = trace(Block(forward), torch.randn(2, 8))
    return [
        (sorted(graph.ops[end].uses[0].parameter for end in join.ends), join.stream)
        for join in graph.joins.values()
    ]


def two_blocks(m, x):
    x = x + m.b(torch.relu(m.a(x)))
    return x + m.d(torch.relu(m.c(x)))


def post_norm(m, x):
    x = m.norm(x + m.b(torch.relu(m.a(x))))
    return m.norm(m.d(torch.relu(m.c(x))) + x)


def scaled_skip(m, x):
    return 0.7 * x + m.b(torch.relu(m.a(x)))


def scaled_branch(m, x):
    return x + 0.5 * F.dropout(m.b(torch.relu(m.a(x))), 0.1)


def layer_scale(m, x):
    return x + m.scale * m.b(torch.relu(m.a(x)))


def bias_apart(m, x):
    return x + (F.relu(m.a(x)) @ m.b.weight + m.bias)


def projected(m, x):
    return torch.relu(m.norm(m.c(x)) + m.norm(m.b(torch.relu(m.a(x)))))


def after_projection(m, x):
    x = torch.relu(m.c(x) + m.b(torch.relu(m.a(x))))
    return x + m.d(x)


def two_streams(m, x):
    y = m.c(x + m.a(x))
    return y + m.b(y)


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (two_blocks, [(["b.weight"], 0), (["d.weight"], 0)]),
        (post_norm, [(["b.weight"], 0), (["d.weight"], 0)]),
        (scaled_skip, [(["b.weight"], 0)]),
        (scaled_branch, [(["b.weight"], 0)]),
        (layer_scale, [(["scale"], 0)]),
        (bias_apart, [(["b.weight", "bias"], 0)]),
        (projected, [(["norm.weight"], 0)]),
        (after_projection, [(["b.weight"], 0), (["d.weight"], 0)]),
        (two_streams, [(["a.weight"], 0), (["b.weight"], 1)]),
    ],
)
def test_residual_sums(forward, expected):
    assert ends(forward) == expected


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.a(x) + m.b(x),  # two layers side by side
        lambda m, x: m.a(x) + m.a(x),
        lambda m, x: x + torch.tanh(x),  # no weight on the way
        lambda m, x: x + x,
        lambda m, x: m.a(x[:1]) + m.b(torch.relu(m.a(x[1:]))),  # different examples
    ],
)
def test_what_is_no_residual_sum(forward):
    assert ends(forward) == []


def test_streams_are_counted_apart():
    def forward(m, x):
        for _ in range(3):
            x = x + m.a(x)
        y = m.b(x)
        for _ in range(2):
            y = y + m.c(y)
        return y

    graph = trace(Block(forward), torch.randn(2, 8))
    assert graph.branches == {0: 3, 1: 2}
