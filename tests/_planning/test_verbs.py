"""A plan is one that its own `apply` takes."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import isoinit
from isoinit._writing.refusals import misfit
from isoinit.errors import ArgumentError, PlanError


class Flat(nn.Module):
    """A weight that is stored as one long vector, and changed before it is used."""

    def __init__(self, product):
        super().__init__()
        self.map, self.flat = nn.Linear(3, 4), nn.Parameter(torch.randn(8))
        self.product = product

    def forward(self, x):
        return self.product(self.map(x), self.flat)


PRODUCTS = {
    "scaled": lambda x, w: x @ (w.reshape(4, 2) * 0.5),
    "narrowed": lambda x, w: x @ (w.reshape(1, 8).narrow(1, 0, 4).reshape(4, 1) * 0.5),
    "letters": lambda x, w: torch.einsum("ni,io->no", x, w.view(4, 2) * 2),
    "axes": lambda x, w: torch.tensordot(x, w.view(2, 4) * 2, dims=([1], [1])),
    "rows": lambda x, w: nn.functional.linear(x, torch.tanh(w.view(2, 4))),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("method", ["auto", "orthogonal", "he"])
def test_what_does_not_fit_is_left_and_named(name, method):
    model, x = Flat(PRODUCTS[name]), torch.randn(16, 3)
    before = model.flat.detach().clone()
    plan = isoinit.plan(model, x, method=method)
    plan.apply(model, seed=0)
    if plan["flat"].initializer is None:
        assert any("'flat'" in warning for warning in plan.warnings)
        assert torch.equal(model.flat, before)
    isoinit.Plan.from_json(plan.to_json())


def test_a_misfit_is_what_apply_refuses():
    model = nn.Linear(4, 4, dtype=torch.bfloat16)
    plan = isoinit.plan(model, torch.zeros(1, 4, dtype=torch.bfloat16))
    for given, fits in (
        (isoinit.Uniform(1.0001, 1.0002), False),
        (isoinit.Uniform(1.0, 1.1), True),
    ):
        plan.entries["weight"] = replace(plan["weight"], initializer=given)
        fault = misfit(model.weight, given, plan["weight"].layout)
        assert (not fault) == fits
        if fault:
            with pytest.raises(PlanError, match=re.escape(fault)):
                plan.apply(model, seed=0)
            with pytest.raises(ArgumentError, match=re.escape(fault)):
                plan["weight"] = given


def test_init_can_calibrate_and_says_what_it_saw():
    batch = 0.02 * torch.randn(128, 36, generator=torch.Generator().manual_seed(0))
    models = [nn.Sequential(nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 3)) for _ in range(3)]
    plan = isoinit.init(models[0], batch, seed=3, calibrate=True)
    hidden = models[0][0](batch) - models[0][0].bias
    assert hidden.std().item() == pytest.approx(1, rel=1e-3)
    assert any("'0.weight' ×" in note for note in plan.notes)
    again = isoinit.plan(models[1], batch).calibrate(models[1], batch, seed=3)
    again.apply(models[1], seed=3)
    plan.apply(models[2], plan.seed)
    for model in models[1:]:
        params = model.parameters(), models[0].parameters()
        assert all(torch.equal(a, b) for a, b in zip(*params, strict=True))


def test_init_without_a_seed_calibrates_for_the_one_that_it_draws():
    torch.manual_seed(0)
    batch, model = torch.rand(64, 36), nn.Sequential(nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 2))
    isoinit.init(model, batch, calibrate=True)
    assert model[0](batch).std().item() == pytest.approx(1, rel=1e-3)


def test_init_refuses_to_calibrate_on_nothing():
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    with pytest.raises(isoinit.errors.ArgumentError, match="batch of real examples"):
        isoinit.init(model, calibrate=True)
    assert torch.equal(model.weight, before)
