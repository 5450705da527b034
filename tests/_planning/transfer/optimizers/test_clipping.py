"""Clipping by the norm without the gauge: exactly what the papers' form does."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from isoinit.errors import ArgumentError
from transferred import by_hand, factors, mlp, mlp_transfer, train

DOUBLE = torch.float64


class Times(nn.Module):
    """A multiplier in the forward, as papers have it."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return self.by * x


def explicit(gauge):
    """The MLP with multipliers: the second layer's output times the gauge, before its ReLU."""
    model = mlp(dtype=DOUBLE)
    model[3] = nn.Sequential(Times(gauge), nn.ReLU())
    return model


def gauged(gauge):
    """The same function without multipliers."""
    model = mlp(dtype=DOUBLE)
    with torch.no_grad():
        model[2].weight.mul_(gauge)
        model[2].bias.mul_(gauge)
    return model


def transfer(model, optimizer, gauge=1.0):
    """A transfer whose only factors are those of the gauge of the second layer."""
    power = 2 if optimizer == "sgd" else 1
    numbers = {"lr": gauge**power, "decay": gauge**-power, "eps": 1 / gauge, "gauge": gauge}
    names = [name for name, _ in model.named_parameters()]
    given = {name: factors(optimizer=optimizer) for name in names}
    given |= {n: factors(optimizer=optimizer, **numbers) for n in ("2.weight", "2.bias")}
    return by_hand(model, given, optimizer)


def clipped_training(model, t, optimizer):
    """The losses of 30 steps clipped at 0.1, and the norms that were clipped."""
    groups = t.groups(model, lr=0.1 if optimizer == "sgd" else 0.01, weight_decay=0.1)
    sgd = optimizer == "sgd"
    made = torch.optim.SGD(groups, momentum=0.9) if sgd else torch.optim.AdamW(groups)
    norms = []
    losses = train(
        model, made, 30, lambda m: norms.append(t.clip_grad_norm_(m, 0.1).item()), dtype=DOUBLE
    )
    return losses, norms


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("gauge", [1 / 8, 3.0])
def test_clipped_models_train_as_those_with_multipliers(optimizer, gauge):
    model = explicit(gauge)
    expected, norms = clipped_training(model, transfer(model, optimizer), optimizer)
    model = gauged(gauge)
    losses, found = clipped_training(model, transfer(model, optimizer, gauge), optimizer)
    assert found == pytest.approx(norms, rel=1e-9)
    assert losses == pytest.approx(expected, abs=1e-9)
    assert max(norms[5:]) > 0.1  # so that clipping did something
    assert losses[-1] < losses[0]


def test_torchs_own_clipping_sees_the_gauge():
    model = gauged(1 / 8)
    t = transfer(model, "adamw", 1 / 8)
    logits = model(torch.ones(2, 8, dtype=DOUBLE))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    own = t.clip_grad_norm_(model, math.inf)
    other = nn.utils.clip_grad_norm_(model.parameters(), math.inf)
    assert other > 1.1 * own


@given(
    st.lists(st.sampled_from([0.25, 1.0, 3.0]), min_size=6, max_size=6),
    st.sampled_from([1.0, 2.0, 3.5, math.inf]),
    st.sampled_from([None, True, False]),
    st.floats(0, 10),
)
@settings(max_examples=40, deadline=None)
def test_the_norm_is_that_of_gradients_times_their_gauges(gauges, power, foreach, most):
    model = mlp(dtype=DOUBLE)
    names = [name for name, _ in model.named_parameters()]
    t = by_hand(mlp(), {n: factors(gauge=g) for n, g in zip(names, gauges, strict=True)})
    random = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, dtype=DOUBLE, generator=random)
    before = [parameter.grad.clone() for parameter in model.parameters()]
    flat = torch.cat([g.flatten() * by for g, by in zip(before, gauges, strict=True)])
    norm = t.clip_grad_norm_(model, most, power, foreach=foreach)
    assert norm.item() == pytest.approx(torch.linalg.vector_norm(flat, power).item(), rel=1e-12)
    scale = min(1.0, most / (norm.item() + 1e-6))  # torch's
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient * scale, rtol=1e-12, atol=0)


def test_parameters_without_gradient_are_left():
    model, t = mlp(), mlp_transfer()
    assert t.clip_grad_norm_(model, 1.0) == 0
    model[0].requires_grad_(False)
    model(torch.ones(2, 8)).sum().backward()
    expected = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert t.clip_grad_norm_(model, 1e9).item() == pytest.approx(expected.item())


def test_a_norm_that_is_not_finite_raises_if_asked_to():
    model, t = mlp(), mlp_transfer()
    model[0].weight.grad = torch.full_like(model[0].weight, math.nan)
    assert t.clip_grad_norm_(model, 1.0).isnan()
    with pytest.raises(RuntimeError, match=r"the norm of order 2\.0 of the gradients is nan"):
        t.clip_grad_norm_(model, 1.0, error_if_nonfinite=True)


@pytest.mark.parametrize("most", [-1.0, math.nan])
def test_a_norm_below_0_is_refused(most):
    with pytest.raises(ArgumentError, match="max_norm="):
        mlp_transfer().clip_grad_norm_(mlp(), most)


def test_bare_parameters_are_refused():
    with pytest.raises(ArgumentError, match="expected the model, not its parameters"):
        mlp_transfer().clip_grad_norm_(mlp().parameters(), 1.0)
