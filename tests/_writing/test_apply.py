"""Plans on what is not a whole model: stages, checkpoints that lack something, untied parameters."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import IsoinitWarning, PlanError

X = torch.ones(2, 6)


def network(depth=3, width=6):
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)], nn.Linear(width, 2))


@pytest.fixture
def plan():
    return isoinit.plan(network(), X)


class TestOnlyMissing:
    """Old weights in a larger model."""

    def test_what_the_checkpoint_lacks_is_filled(self, plan):
        old = {f"0.{k}": v for k, v in nn.Linear(6, 6).state_dict().items()}
        for load_first in (True, False):
            model = network()
            for parameter in model.parameters():
                nn.init.constant_(parameter, torch.nan)
            if load_first:
                model.load_state_dict(old, strict=False)
            plan.apply(model, 5, only_missing=old)
            if not load_first:
                assert model[0].weight.isnan().all()
                model.load_state_dict(old, strict=False)
            whole = plan.apply(network(), 5).state_dict() | old
            for name, tensor in model.state_dict().items():
                assert torch.equal(tensor, whole[name]), name

    def test_on_meta_what_will_be_loaded_stays_there(self, plan):
        old = {f"0.{k}": v for k, v in nn.Linear(6, 6).state_dict().items()}
        with torch.device("meta"):
            model = network()
        plan.apply(model, only_missing=old, seed=0)
        assert [n for n, p in model.named_parameters() if p.is_meta] == ["0.weight", "0.bias"]
        model.load_state_dict(old, strict=False, assign=True)
        assert not any(p.is_meta for p in model.parameters())

    def test_names_of_wrapped_models(self, plan):
        old = {f"module._orig_mod.0.{k}": v for k, v in nn.Linear(6, 6).state_dict().items()}
        model = network()
        before = model[0].weight.clone()
        plan.apply(model, only_missing=old, seed=0)
        assert torch.equal(model[0].weight, before)

    def test_a_tied_parameter_is_there_by_any_name(self):
        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
                self.head.weight = self.table.weight

            def forward(self, x):
                return self.head(self.table(x))

        model = Tied()
        plan = isoinit.plan(model, torch.zeros(1, dtype=torch.long))
        before = model.table.weight.clone()
        plan.apply(model, only_missing={"head.weight": before}, seed=0)
        assert torch.equal(model.table.weight, before)

    def test_an_empty_checkpoint_lacks_everything(self, plan):
        assert torch.equal(
            plan.apply(network(), only_missing={}, seed=0)[0].weight,
            plan.apply(network(), seed=0)[0].weight,
        )

    @pytest.mark.parametrize(
        ("state", "match"),
        [
            (
                {"0.weight": torch.zeros(6, 5)},
                r"'0\.weight' of shape \(6, 5\), the model of \(6, 6\)",
            ),
            ({"model.0.weight": torch.zeros(6, 6)}, r"none of the 1 names .*'model\.0\.weight'"),
            (["0.weight"], "is a list; expected what state_dict"),
        ],
        ids=["shape", "names", "kind"],
    )
    def test_what_does_not_fit_is_refused(self, plan, state, match):
        model = network()
        before = model[0].weight.clone()
        with pytest.raises(PlanError, match=match):
            plan.apply(model, only_missing=state, seed=0)
        assert torch.equal(model[0].weight, before)


def test_some_of_the_plans_parameters(plan):
    model = network()
    del model[1]  # the others keep their names only if none stands behind
    model = nn.Sequential(network()[0], network()[1])
    whole = plan.apply(network(), 4)
    plan.apply(model, 4)
    assert torch.equal(model[1].weight, whole[1].weight)


def test_what_was_tied_and_is_no_more():
    class Tied(nn.Module):
        def __init__(self, tie):
            super().__init__()
            self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
            if tie:
                self.head.weight = self.table.weight

        def forward(self, x):
            return self.head(self.table(x))

    plan = isoinit.plan(Tied(True), torch.zeros(1, dtype=torch.long))
    model = Tied(False)
    with pytest.warns(IsoinitWarning, match=r"'head\.weight' was tied to 'table\.weight'"):
        plan.apply(model, seed=0)
    assert torch.equal(model.head.weight, model.table.weight)


def test_the_digest_is_of_the_values(plan):
    other = isoinit.plan(network(), torch.zeros(5, 6))
    assert plan.digest == other.digest == isoinit.Plan.from_json(plan.to_json()).digest
    other["0.weight"] = isoinit.Normal(std=0.1)
    assert plan.digest != other.digest
