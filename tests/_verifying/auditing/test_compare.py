"""Two runs beside each other: what they say of one tensor."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isoinit._verifying.auditing.compare import (
    farthest,
    is_constant,
    missing,
    other_distribution,
    same,
)
from isoinit._verifying.auditing.poisoned import poisons
from isoinit._writing.poison import poison


@given(
    size=st.integers(1, 40),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_missing_counts_what_the_poisons_left(size, dtype, data):
    written = torch.tensor(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    runs = []
    for byte in poisons(dtype):
        memory = torch.empty(size, dtype=dtype)
        poison(memory, byte)
        memory[written] = 1
        runs.append(memory)
    found = missing(*runs)
    assert (found.never, found.computed) == (int((~written).sum()), 0)
    assert found.first == tuple((~written).nonzero()[:1].flatten().tolist())


@pytest.mark.parametrize("draw", [torch.randn, torch.rand, lambda n: torch.randn(n) ** 3])
@pytest.mark.parametrize("size", [32, 100, 10_000])
def test_one_law_is_taken_for_one(draw, size):
    """At most one alarm in 10⁹ pairs is meant; a cubed normal's tails hide in so few values."""
    torch.manual_seed(0)
    pairs = 300
    assert all(other_distribution(draw(size), draw(size)) is None for _ in range(pairs))


@pytest.mark.parametrize(("scale", "shift"), [(2.0, 0.0), (0.5, 0.0), (1.0, 2.0), (0.0, 0.0)])
def test_other_distributions_are_found(scale, shift):
    torch.manual_seed(0)
    ratio = other_distribution(scale * torch.randn(1000) + shift, torch.randn(1000))
    assert ratio == pytest.approx(scale, rel=0.2)


def test_a_law_beside_a_constant():
    assert other_distribution(torch.randn(100), torch.ones(100)) == math.inf
    assert other_distribution(torch.ones(100), torch.zeros(100)) is None
    assert other_distribution(torch.randn(8), torch.ones(8)) is None  # too few to say


def test_rounding_is_no_difference():
    x = torch.linspace(-3, 3, 20)
    assert farthest(x * (1 + 1e-7), x) == 0
    assert farthest(torch.tensor([torch.inf, torch.nan]), torch.tensor([torch.inf, 1])) == 0
    assert farthest(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])) == 3
    assert farthest(torch.zeros(0), torch.zeros(0)) == 0


def test_bits_and_not_values_are_compared():
    nan = torch.tensor(torch.nan)
    assert same(nan, nan.clone())
    assert not same(torch.tensor(0.0), torch.tensor(-0.0))
    assert is_constant(torch.zeros(0))
    assert not is_constant(torch.tensor([0.0, -0.0]))
