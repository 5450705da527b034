"""The role of every parameter of networks written by hand, worked out by hand."""

from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

import isoinit
from zoo import odd
from zoo.models import ZOO


def expected(names, patterns):
    found = {name: next((p for p in patterns if fnmatchcase(name, p)), None) for name in names}
    return {name: pattern and patterns[pattern] for name, pattern in found.items()}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", ZOO)
def test_every_parameter_has_its_role(name, training):
    torch.manual_seed(0)
    build, batch, patterns = ZOO[name]
    model = build().train(training)
    plan = isoinit.plan(model, batch)
    roles = {entry.name: entry.role for entry in plan}
    assert roles == expected([n for n, _ in model.named_parameters()], patterns)
    assert plan.notes == ()
    on_data = ("equilibrium", "branches on data")
    assert plan.how == ("real" if name in on_data else "fake")


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(cell, gates):
    plan = isoinit.plan(odd.LanguageModel(cell), torch.randint(50, (2, 7)))
    assert plan["rnn.weight_hh_l1"].role == "recurrent weight"
    assert plan["rnn.weight_hh_l1"].layout.maps_shape == (gates, 32, 32, 1)


FANS = {
    "list.0": (8, 8),
    "dict.w": (8, 16),
    "left": (16, 12),
    "three": (12, 12),
    "implicit": (6, 4),
    "dots": (4, 5),
    "dotted": (5, 3),
}


def test_fans_of_parameters_used_directly():
    plan = isoinit.plan(odd.ByHand(), torch.randn(5, 8))
    assert {name: (plan[name].fan_in, plan[name].fan_out) for name in FANS} == FANS


@pytest.mark.parametrize("build", [odd.Expert, odd.Chosen])
def test_fans_of_stacked_experts(build):
    plan = isoinit.plan(build(), torch.randn(5, 8))
    # "bi,eij->bej" is one map to all experts at once
    up = (4, 16, 8, 1) if build is odd.Chosen else (1, 64, 8, 1)
    assert plan["up"].layout.maps_shape == up
    assert plan["down"].layout.maps_shape == (4, 8, 16, 1)


def test_lazy_modules_are_refused_until_they_have_shapes():
    model = odd.Lazy()
    with pytest.raises(isoinit.IsoinitError, match=r"a\.weight.*lazy"):
        isoinit.plan(model, torch.randn(5, 4))
    model(torch.randn(5, 4))
    plan = isoinit.plan(model, torch.randn(5, 4))
    assert plan["a.weight"].role == "weight before relu"
