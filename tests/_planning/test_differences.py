"""Two plans are told apart by what changes a number, and by nothing else."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import isoinit
from isoinit import Difference, HeNormal, Normal, Ones, Orthogonal, Zeros
from isoinit.errors import ArgumentError
from isoinit.initializers.scale import fans

X = torch.zeros(1, 36)


def plan_of(*layers, **options):
    dtype = options.pop("dtype", torch.float32)
    return isoinit.plan(nn.Sequential(*layers).to(dtype), X.to(dtype), **options)


@pytest.fixture
def plan():
    return plan_of(nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4))


def llama(layers):
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=99,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=4,
        )
    )


def facts(differences):
    return {(row.name, row.what): (row.before, row.after) for row in differences}


def test_the_same_plan_has_none(plan):
    loaded = isoinit.Plan.from_json(plan.to_json())
    found = plan.diff(loaded)
    assert not found
    assert len(found) == 0
    assert list(found) == []
    assert str(found) == "the plans give every parameter the same"
    assert json.loads(found.to_json())["differences"] == []


def test_reasons_are_not_compared(plan):
    other = isoinit.Plan.from_json(plan.to_json())
    other["0.bias"] = Zeros()
    assert other["0.bias"].reason != plan["0.bias"].reason
    assert not plan.diff(other)


def test_initializers_and_what_follows_from_them(plan):
    other = isoinit.Plan.from_json(plan.to_json())
    other.override({"*.bias": Ones(), "2.weight": Orthogonal()})
    xavier = plan["2.weight"].initializer
    assert plan.diff(other).rows == (
        Difference("0.bias", "initializer", Zeros(), Ones()),
        Difference("2.weight", "initializer", xavier, Orthogonal()),
        Difference("2.weight", "std", plan["2.weight"].std, 0.25),
        Difference("2.bias", "initializer", Zeros(), Ones()),
    )
    assert facts(other.diff(plan)) == {k: (b, a) for k, (a, b) in facts(plan.diff(other)).items()}


def test_shapes_types_and_roles(plan):
    wider = plan_of(nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 5))
    assert facts(plan.diff(wider))["2.bias", "shape"] == ((4,), (5,))
    assert facts(plan.diff(wider))["2.weight", "shape"] == ((4, 16), (5, 16))
    assert ("2.weight", "layout") not in facts(plan.diff(wider))
    layers = nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4)
    double = plan.diff(plan_of(*layers, dtype=torch.float64))
    assert {(row.what, row.before, row.after) for row in double} == {
        ("dtype", "float32", "float64")
    }
    smooth = plan_of(nn.Linear(36, 16), nn.GELU(), nn.Linear(16, 4))
    assert facts(plan.diff(smooth))["0.weight", "role"] == (
        "weight before relu",
        "weight before gelu",
    )


def test_what_the_axes_mean(plan):
    other = isoinit.Plan.from_json(plan.to_json())
    other.entries["0.weight"] = replace(plan["0.weight"], layout=fans.linear((16, 36), 2))
    found = plan.diff(other)
    assert ("0.weight", "layout") in facts(found)
    assert "grid=(2, 8, 36)" in str(found)


def test_parameters_that_only_one_has(plan, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    more = plan_of(nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 4))
    found = facts(plan.diff(more))
    assert found["4.weight", "parameter"] == (None, more["4.weight"])
    assert facts(more.diff(plan))["4.bias", "parameter"] == (more["4.bias"], None)
    text = str(plan.diff(more))
    assert "not there" in text
    assert "4×4 float32: Orthogonal(gain=" in text
    row = json.loads(more.diff(plan).to_json())["differences"][-1]
    assert (row["name"], row["after"]) == ("4.bias", None)
    assert row["before"]["initializer"] == {"initializer": "Zeros"}
    assert row["before"]["shape"] == [4]


def test_repeated_blocks_are_folded_within_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    model = llama(12)
    text = str(isoinit.plan(model).diff(isoinit.plan(model, overrides={"*_proj.weight": Zeros()})))
    assert text.startswith("84 parameters differ")
    assert "model.layers.0…11.mlp.up_proj.weight (12)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 40
    deeper = str(isoinit.plan(model).diff(isoinit.plan(llama(13))))
    assert "model.layers.12.mlp.up_proj.weight" in deeper
    assert max(map(len, deeper.splitlines())) <= 80


def test_a_difference_too_small_for_the_short_form_is_seen(plan):
    other = isoinit.Plan.from_json(plan.to_json())
    plan["0.weight"], other["0.weight"] = isoinit.Normal(0.0, 0.1), isoinit.Normal(0.0, 0.10001)
    text = str(plan.diff(other))
    assert "1 parameter differs" in text
    assert "0.10001" in text


@pytest.mark.parametrize("factor", [1 + 1e-15, 1 + 1e-6, 1 - 1e-5])
def test_rounding_is_no_difference(plan, factor):
    """One unit of the sixth digit, which another processor may give, or less."""
    other = isoinit.Plan.from_json(plan.to_json())
    for name, base in (("0.weight", HeNormal(gain=1.5)), ("2.weight", Normal(0.0, 0.3))):
        plan[name] = base
        other[name] = base.scaled(factor)
    assert not plan.diff(other)
    plan["2.weight"] = isoinit.Variational(base=HeNormal(gain=1.5))
    other["2.weight"] = isoinit.Variational(base=HeNormal(gain=1.5 * factor))
    assert not plan.diff(other)
    other["2.weight"] = isoinit.Variational(base=HeNormal(gain=1.5 * (1 + 1e-4)))
    assert {row.what for row in plan.diff(other)} == {"initializer", "std"}


def test_one_parameter_left_as_it_was(plan):
    other = isoinit.Plan.from_json(plan.to_json())
    other.entries["0.bias"] = replace(plan["0.bias"], initializer=None)
    assert facts(plan.diff(other)) == {
        ("0.bias", "initializer"): (Zeros(), None),
        ("0.bias", "std"): (0.0, None),
    }
    assert "left as it was" in str(plan.diff(other))


@pytest.mark.parametrize("other", [None, "plan.json", {}])
def test_what_is_no_plan_is_refused(plan, other):
    with pytest.raises(ArgumentError, match=r"other is a .*; expected a Plan"):
        plan.diff(other)


def test_a_standard_deviation_that_is_a_whole_number_is_a_number_in_json(plan):
    other = isoinit.Plan.from_json(plan.to_json())
    other["0.weight"] = isoinit.Normal(std=1)
    rows = json.loads(plan.diff(other).to_json())["differences"]
    assert [row["after"] for row in rows if row["what"] == "std"] == [1]
