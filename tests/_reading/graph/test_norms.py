"""How large is what norm layers make: one, or what a length leaves of it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

import isoinit
from isoinit._reading.torch import trace


def length(x, dim, kind):
    if kind == "norm":
        return x / x.norm(dim=dim, keepdim=True)
    if kind == "vector_norm":
        return x / torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp(min=1e-12)
    if kind == "sum":
        return x * torch.rsqrt(x.pow(2).sum(dim, keepdim=True) + 1e-6)
    raise AssertionError(kind)


def deviation(x, dim, kind):
    if kind == "rms":
        return x * torch.rsqrt(x.pow(2).mean(dim, keepdim=True) + 1e-6)
    if kind == "unbiased":
        return (x - x.mean(dim, keepdim=True)) / (x.std(dim, keepdim=True) + 1e-6)
    if kind == "root of n":
        return x / x.norm(dim=dim, keepdim=True) * math.sqrt(x.shape[dim])
    raise AssertionError(kind)


class Between(nn.Module):
    """A norm between two layers."""

    def __init__(self, norm, width):
        super().__init__()
        self.a, self.b = nn.Linear(16, width, bias=False), nn.Linear(width, 64, bias=False)
        self.norm = norm

    def forward(self, x):
        return self.b(self.norm(self.a(x)))


def seconds(model, x):
    """The second moments of what all norms of a model make."""
    graph = trace(model, x)
    return [graph.second_of_norm(graph.ops[index]) for index in graph.norms]


@pytest.mark.parametrize("kind", ["norm", "vector_norm", "sum"])
@given(
    shape=st.tuples(*(st.integers(2, 40) for _ in range(2)), st.integers(2, 300)),
    dim=st.sampled_from([-1, 1, 0]),
)
@settings(max_examples=12, deadline=None)
def test_divided_by_the_length_of_n_elements_the_second_moment_is_one_in_n(kind, shape, dim):
    model = Between(lambda x: length(x, dim, kind), shape[2])
    found = seconds(model, torch.ones(*shape[:2], 16))
    assert found == [pytest.approx(1 / shape[dim], rel=1e-3)]


@pytest.mark.parametrize("kind", ["rms", "unbiased", "root of n"])
@pytest.mark.parametrize("width", [24, 700])
def test_a_deviation_or_a_root_mean_square_leaves_one(kind, width):
    model = Between(lambda x: deviation(x, -1, kind), width)
    found = seconds(model, torch.ones(8, 16))
    expected = 1 / width if kind == "root of n" else 1.0  # its factor stands behind the norm
    assert found == [pytest.approx(expected, rel=1e-3)]


def test_a_constant_inside_counts():
    model = Between(lambda x: 0.5 * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6), 32)
    assert seconds(model, torch.ones(8, 16)) == [pytest.approx(0.25, rel=1e-3)]


@pytest.mark.parametrize("kind", ["norm", "vector_norm", "sum", "rms", "root of n"])
def test_planned_and_measured_agree_behind_them(kind):
    """Signal and gradient; before, a vector that was divided by its length counted as of unit size."""
    make = deviation if kind in ("rms", "root of n") else length
    model = Between(lambda x: make(x, -1, kind), 400)
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    plan = isoinit.plan(model, x)
    plan.apply(model, seed=0)
    health = isoinit.check(model, x, plan=plan)
    first, last = health.layers
    assert last.rms == pytest.approx(1.0, rel=0.1)
    assert last.expected == pytest.approx(1.0, rel=0.01)
    expected = plan["a.weight"].expected_gradient  # of a unit gradient at the output
    assert first.gradient / last.gradient == pytest.approx(expected, rel=0.1)
    assert health.findings == []


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_normalize_is_measured(power):
    """It is no norm layer: what comes of it is measured, with whatever exponent."""
    model = Between(lambda x: F.normalize(x, p=power, dim=-1), 64)
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    assert seconds(model, x) == []
    plan = isoinit.plan(model, x)
    plan.apply(model, seed=0)
    assert model(x).pow(2).mean().sqrt().item() == pytest.approx(1.0, rel=0.1)
