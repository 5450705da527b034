"""Singular values of the Jacobian, against closed forms."""

import math

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import ArgumentError


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_linear_network_has_those_of_the_product():
    model = nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 5))
    got = isoinit.check(model, normal(4, 6), jacobian=True).jacobian
    product = (model[1].weight @ model[0].weight).detach().double()
    assert got == pytest.approx(torch.linalg.svdvals(product).tolist(), rel=1e-5)


def test_deep_orthogonal_networks_are_isometries_and_gaussian_ones_are_not():
    model = nn.Sequential(*[nn.Linear(32, 32) for _ in range(40)])
    batch = normal(4, 32)
    plan = isoinit.plan(model, batch)
    plan["*.weight"] = isoinit.Orthogonal()
    plan.apply(model, seed=0)
    values = isoinit.check(model, batch, jacobian=True).jacobian
    assert values == pytest.approx([1.0] * 32, rel=1e-4)
    plan["*.weight"] = isoinit.LeCunNormal()
    plan.apply(model, seed=0)
    values = isoinit.check(model, batch, jacobian=True).jacobian
    # Of a product of 40 Gaussian matrices the largest and the smallest drift apart exponentially.
    assert values[0] / values[15] > 1e3


def test_relu_against_autograd():
    model = nn.Sequential(nn.Linear(7, 12), nn.ReLU(), nn.Linear(12, 4))
    batch = normal(3, 7)
    exact = torch.autograd.functional.jacobian(model, batch[0])
    got = isoinit.check(model, batch, jacobian=True).jacobian
    assert got == pytest.approx(torch.linalg.svdvals(exact.double()).tolist(), rel=1e-5)


def test_batch_norm_in_training_keeps_its_statistics():
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    batch = normal(16, 5)
    got = isoinit.check(model, batch, jacobian=True).jacobian
    assert len(got) == 3
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert model.training

    def first(x):
        return model(torch.cat([x[None], batch[1:]]))[0]

    exact = torch.autograd.functional.jacobian(first, batch[0])
    assert got == pytest.approx(torch.linalg.svdvals(exact.double()).tolist(), rel=1e-4, abs=1e-7)


def test_it_is_worked_out_only_on_demand():
    assert isoinit.check(nn.Linear(3, 3), normal(8, 3)).jacobian == ()


def test_tokens_cannot_be_varied():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    with pytest.raises(
        ArgumentError, match="no dense floating-point tensor of examples to differentiate by"
    ):
        isoinit.check(model, torch.tensor([[1, 2], [3, 4]]), jacobian=True)


def test_a_jacobian_that_is_too_large_is_refused():
    with pytest.raises(ArgumentError, match="Pass a smaller example"):
        isoinit.check(nn.Linear(5000, 5000), normal(2, 5000), jacobian=True)


def test_the_table_tells_the_range():
    text = str(isoinit.check(nn.Linear(3, 3), normal(8, 3), jacobian=True))
    assert "Jacobian" in text
    assert not math.isnan(float(text.split("median ")[1].split()[0]))
