"""What follows a weight, measured by replaying what the model did."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from isoinit._reading.activation import GRID
from isoinit._reading.pointwise import feeding, following
from isoinit._reading.torch import trace


class Net(nn.Module):
    """One weight, a function, and a second weight."""

    def __init__(self, function):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)
        self.norm = nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.ones(8))
        self.square = nn.Parameter(torch.randn(8, 8))
        self.function = function

    def forward(self, x):
        return self.second(self.function(self, self.first(x)))


def follow(function, how="fake"):
    graph = trace(Net(function), torch.randn(3, 4))
    assert graph.how == how
    return following(graph, graph.ops[0].outputs[0])


FUNCTIONS = [
    ("relu", lambda m, z: F.relu(z), lambda z: np.maximum(z, 0)),
    ("in place", lambda m, z: F.relu(z, inplace=True), lambda z: np.maximum(z, 0)),
    ("clamp", lambda m, z: z.clamp(min=0), lambda z: np.maximum(z, 0)),
    ("where", lambda m, z: torch.where(z > 0, z, 0.1 * z), lambda z: np.where(z > 0, z, 0.1 * z)),
    ("swish by hand", lambda m, z: z * torch.sigmoid(2 * z), lambda z: z / (1 + np.exp(-2 * z))),
    ("squared relu", lambda m, z: F.relu(z) ** 2, lambda z: np.maximum(z, 0) ** 2),
    ("reversed operands", lambda m, z: 1 - torch.exp(-z), lambda z: 1 - np.exp(-z)),
    ("a constant tensor", lambda m, z: torch.tanh(z * torch.tensor(2.0)), lambda z: np.tanh(2 * z)),
    ("through reshapes", lambda m, z: torch.tanh(z.view(3, 2, 4)).flatten(1), np.tanh),
    ("through dropout", lambda m, z: F.dropout(torch.tanh(z), 0.5), np.tanh),
    ("skip inside", lambda m, z: z + torch.tanh(z), lambda z: z + np.tanh(z)),
    ("in half precision", lambda m, z: torch.sin(z.bfloat16()).float(), np.sin),
]


@pytest.mark.parametrize(
    ("function", "expected"), [r[1:] for r in FUNCTIONS], ids=[r[0] for r in FUNCTIONS]
)
def test_functions_are_replayed(function, expected):
    found = follow(function)
    np.testing.assert_allclose(found.function(GRID), expected(GRID), rtol=1e-6, atol=1e-7)
    assert found.names
    assert found.end.name == "linear"


def test_norms_are_looked_through():
    found = follow(lambda m, z: torch.tanh(m.norm(z)))
    assert found.norm
    assert found.names == ("tanh",)


@pytest.mark.parametrize(
    ("function", "end"),
    [
        (lambda m, z: z, "linear"),
        (lambda m, z: 3 * z + 1, "linear"),
        (lambda m, z: -z, "linear"),
        (lambda m, z: F.softmax(z, -1), "softmax"),
        (lambda m, z: z.cumsum(-1), "cumsum"),
    ],
)
def test_what_is_no_activation(function, end):
    found = follow(function)
    assert found.names == ()
    assert found.end.name == end


NORMS = [
    lambda z: z / z.pow(2).mean(-1, keepdim=True).sqrt(),
    lambda z: z * torch.rsqrt(z.square().mean(-1, keepdim=True) + 1e-6),
    lambda z: (
        (z - z.mean(-1, keepdim=True)) / (z.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    ),
    lambda z: z / (z.norm(dim=-1, keepdim=True) + 1e-8),
    lambda z: z.float() * (z.float() ** 2).mean(-1, keepdim=True).add(1e-6).pow(-0.5),
]


@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_spelled_out_in_steps_is_a_norm(norm):
    found = follow(lambda m, z: torch.tanh(m.scale * norm(z)))
    assert found.norm
    assert found.names == ("tanh",)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z * z.mean(-1, keepdim=True),  # grows with the square
        lambda z: z / z.abs().sum(-1, keepdim=True).exp(),
        lambda z: z * torch.sigmoid(z.mean(-1, keepdim=True)),  # squeeze and excitation
        lambda z: z.exp() / z.exp().sum(-1, keepdim=True),  # softmax
    ],
)
def test_what_only_looks_like_a_norm(function):
    assert not follow(lambda m, z: torch.tanh(function(z))).norm


def test_parts_of_a_tensor_that_meet_are_a_gate_and_no_function():
    def gated(m, z):
        a, b = z.chunk(2, -1)
        return torch.cat([a * torch.sigmoid(b)] * 2, -1)

    assert follow(gated).names in (("sigmoid",), ())


def test_a_custom_autograd_function_is_seen_through():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return z * z * z

    found = follow(lambda m, z: Cube.apply(z))
    np.testing.assert_allclose(found.function(GRID), GRID**3)


def test_a_branch_on_data_runs_on_the_example():
    def branches(m, z):
        return torch.tanh(z) if float(z.sum()) < 1e9 else z

    assert follow(branches, how="real").names == ("tanh",)


def fed(function):
    """What feeds the second layer of `Net`."""
    graph = trace(Net(function), torch.randn(3, 4))
    last = next(op for op in graph.ops if any(use.parameter == "second.weight" for use in op.uses))
    return feeding(graph, last.inputs[0])


@pytest.mark.parametrize(
    ("function", "expected"), [r[1:] for r in FUNCTIONS], ids=[r[0] for r in FUNCTIONS]
)
def test_what_feeds_a_layer_is_replayed(function, expected):
    found = fed(function)
    assert [source.kind for source in found.sources] == ["weight"]
    np.testing.assert_allclose(found.function(GRID), expected(GRID), rtol=1e-6, atol=1e-7)


def test_parts_of_a_layer_feed_as_sources_of_their_own():
    def gated(m, z):
        a, b = z.chunk(2, -1)
        return torch.cat([F.silu(a) * b] * 2, -1)

    def inner(m, z):
        a, b = z.chunk(2, -1)
        return m.widen(F.silu(a) * b)

    assert len(fed(gated).sources) == 2
    net = Net(inner)
    net.widen = nn.Linear(4, 8)
    graph = trace(net, torch.randn(3, 4))
    found = feeding(graph, graph.producers[graph.ops[-1].inputs[0]].inputs[0])
    a, b = GRID, GRID[::-1]
    np.testing.assert_allclose(found.function(a, b), a / (1 + np.exp(-a)) * b, rtol=1e-6)


def test_parts_that_meet_behind_a_function_have_no_single_function():
    def gated(m, z):
        a, b = torch.tanh(z).chunk(2, -1)
        return (a * b).repeat(1, 2)

    assert fed(gated).function is None


def test_norms_and_residual_sums_are_sources():
    assert [s.kind for s in fed(lambda m, z: torch.tanh(m.norm(z))).sources] == ["norm"]
    by_hand = fed(lambda m, z: z / z.pow(2).mean(-1, keepdim=True).sqrt())
    assert [s.kind for s in by_hand.sources] == ["norm"]
    joined = fed(lambda m, z: torch.relu(z + torch.tanh(z) @ m.square))
    assert [s.kind for s in joined.sources] == ["residual"]
    assert joined.activation.name == "relu"


def test_attention_has_no_elementwise_function():
    found = fed(lambda m, z: F.scaled_dot_product_attention(z[None], z[None], z[None])[0])
    assert found.function is None
    assert [source.kind for source in found.sources] == ["weight"]


LOST = {
    "cumsum": (lambda m, z: z.cumsum(0), "cumsum"),
    "along another axis": (lambda m, z: z.flip(0).cumsum(1), "cumsum"),
    "softmax": (lambda m, z: F.softmax(z, 0), "softmax"),
    "sort": (lambda m, z: z.sort(-1)[0], "sort"),
    "a table": (lambda m, z: z * torch.arange(8), "mul reads a constant tensor of several values"),
    "noise": (lambda m, z: z + torch.rand(3, 8), "add reads a constant tensor of several values"),
    "all pairs": (lambda m, z: (z[None] - z[:, None]).sum(1), "sub joins signals along different"),
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_no_function_says_why(name):
    function, why = LOST[name]
    found = fed(function)
    assert found.function is None
    assert why in found.lost


def test_a_tensor_of_which_a_part_was_written_in_place_is_no_function():
    def partly(m, z):
        y = torch.tanh(z)
        y[:, :4].mul_(2)
        return y

    assert "has a part that was written" in fed(partly).lost


@st.composite
def functions(draw):
    """A random function of one tensor, built of masks, choices, writes and constants."""
    number = draw(st.sampled_from([-0.7, 0.0, 0.3, 1.5]))
    leaves = [torch.tanh, torch.abs, lambda z: z * torch.full_like(z, number), lambda z: 0.5 * z]
    first, second = draw(st.sampled_from(leaves)), draw(st.sampled_from(leaves))

    def written(z):
        y = first(z).clone()
        y[z < number] = number
        return y

    def halves(z):
        y = torch.empty_like(z)
        mask = z > number
        y[mask] = first(z)[mask]
        y[~mask] = second(z[~mask])
        return y

    def weighed(z):
        mask = (z > number).to(z.dtype)
        return mask * first(z) + (1 - mask) * second(z)

    ways = [
        written,
        halves,
        weighed,
        lambda z: torch.where(z > number, first(z), second(z)),
        lambda z: torch.stack([first(z), second(z), torch.full_like(z, number)]).amin(0),
        lambda z: (
            torch.maximum(first(z), second(z)) - torch.minimum(first(z), z.new_tensor(number))
        ),
        lambda z: first(z).masked_fill(second(z) > number, number),
        lambda z: torch.lerp(first(z), second(z), (z > number).float().to(z.dtype)),
    ]
    inner, outer = draw(st.sampled_from(ways)), draw(st.sampled_from(ways))
    return lambda z: outer(inner(z) + z)


@settings(max_examples=30, deadline=None)
@given(functions())
def test_random_functions_are_what_torch_makes_of_them(function):
    exact = function(torch.from_numpy(GRID.copy())).numpy()
    found = fed(lambda m, z: function(z))
    np.testing.assert_allclose(found.function(GRID), exact, rtol=1e-9, atol=1e-12)
