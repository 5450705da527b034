"""What is measured of parameters, against singular values and updates that torch itself makes."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import isoinit
from isoinit._verifying.health.torch.weights import (
    all_identical,
    effective_rank,
    histogram,
    share_of_twins,
)
from isoinit.initializers.scale import fans


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(64, 64), (300, 100), (100, 300), (4, 500)])
def test_effective_rank_is_that_of_the_singular_values(shape):
    values = normal(*shape)
    rank, full = effective_rank(values, fans.linear(shape))
    squares = torch.linalg.svdvals(values.double()).square()
    exact = (squares.sum() ** 2 / squares.square().sum()).item()
    assert rank == pytest.approx(exact, rel=0.15)
    assert full == pytest.approx(math.prod(shape) / sum(shape))


def test_effective_rank_of_a_few_directions():
    low = normal(80, 3) @ normal(3, 90)
    assert effective_rank(low, fans.linear((80, 90)))[0] < 4
    assert math.isnan(effective_rank(torch.zeros(8, 8), fans.linear((8, 8)))[0])


def test_twins():
    values = normal(40, 30)
    layout = fans.linear((40, 30))
    assert share_of_twins(values, layout) == 0
    values[7] = values[3]
    values[9] = values[3]
    values[20] = values[21]
    assert share_of_twins(values, layout) == pytest.approx(5 / 40)
    assert not all_identical(values, layout)
    assert all_identical(values[:1].expand(40, 30), layout)


def test_twins_count_within_a_group_or_gate():
    depthwise = torch.ones(8, 1, 3, 3)
    assert share_of_twins(depthwise, fans.conv((8, 1, 3, 3), groups=8)) == 0
    gates = normal(4, 6, 10)
    gates[1] = gates[0]  # two gates of one LSTM: other functions of the same weights
    assert share_of_twins(gates.reshape(24, 10), fans.linear((24, 10), 4)) == 0


def test_few_bits_may_agree_by_chance():
    values = normal(4096, 1).bfloat16()
    assert values.unique().numel() < 4096
    assert share_of_twins(values, fans.linear((4096, 1))) == 0


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_first_step_is_the_one_that_torch_takes(optimizer):
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5))
    batch, lr = normal(64, 20), 0.02

    def loss(y):
        return y.square().mean()

    health = isoinit.check(model, batch, loss=loss, lr=lr, optimizer=optimizer)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    step = kind(model.parameters(), lr=lr)
    loss(model(batch)).backward()
    step.step()
    for weight in health.weights:
        moved = (dict(model.named_parameters())[weight.name] - before[weight.name]).detach()
        ratio = (moved.norm() / before[weight.name].norm()).item()
        assert weight.update == pytest.approx(ratio, rel=1e-3)
        assert weight.gradient > 0


def test_no_learning_rate_no_update():
    health = isoinit.check(nn.Linear(3, 3), normal(8, 3))
    assert all(weight.update is None for weight in health.weights)


@pytest.mark.parametrize("lr", [0, -1.0, math.inf, math.nan])
def test_learning_rates_that_are_none(lr):
    with pytest.raises(isoinit.errors.ArgumentError, match="expected a finite learning rate"):
        isoinit.check(nn.Linear(3, 3), normal(8, 3), lr=lr)


def test_an_unknown_optimizer():
    with pytest.raises(isoinit.errors.ArgumentError, match="expected adam or sgd"):
        isoinit.check(nn.Linear(3, 3), normal(8, 3), lr=0.1, optimizer="lion")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_histograms_count_every_value_of_a_small_parameter(dtype):
    values = normal(40, 30).to(dtype)
    found = histogram(values.T)
    assert sum(found.counts) == values.numel()
    assert (found.low, found.high) == (values.min().item(), values.max().item())
    counts, _ = np.histogram(values.double().numpy(), 32, (found.low, found.high))
    # A value on the edge of a bin may be rounded to either side.
    assert np.abs(np.cumsum(counts) - np.cumsum(found.counts)).max() <= 2


def test_histograms_of_much_look_at_some():
    found = histogram(torch.linspace(0, 1, 1_000_000))
    assert 10_000 < sum(found.counts) <= 16_384
    assert max(found.counts) < 1.02 * min(found.counts)


@pytest.mark.parametrize(
    "values", [[-3e38, 0.0, 3e38], [1e-45, 3e-45], [1e-40, 2e-40, 5e-40], [2.0, 2.0], [5.0]]
)
def test_histograms_of_any_range(values):
    found = histogram(torch.tensor(values))
    assert sum(found.counts) == len(values)
    assert found.low <= found.high


def test_no_histogram_of_nothing_or_of_what_is_not_finite():
    assert histogram(torch.zeros(0)) is None
    model = nn.Linear(2, 2)
    nn.init.constant_(model.bias, math.nan)
    weights = {weight.name: weight for weight in isoinit.check(model, torch.ones(4, 2)).weights}
    assert weights["bias"].histogram is None
    assert weights["weight"].histogram is not None
