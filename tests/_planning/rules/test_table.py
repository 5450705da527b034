"""The rule book as a whole."""

import torch
from torch import nn

import isoinit
from isoinit._planning.rules import RULES


def test_every_rule_says_when_what_and_why():
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.when
        assert rule.formula
        assert rule.reason
        assert rule.source or "model's choice" in rule.reason or rule.initializer is not None


def test_every_entry_has_a_reason_and_a_source():
    model = nn.TransformerEncoderLayer(16, 2, 32)
    for entry in isoinit.plan(model, torch.randn(3, 2, 16)):
        assert entry.reason
        assert entry.source


def test_a_plan_does_not_depend_on_the_numbers_or_the_length_of_an_example_of_usual_size():
    model = nn.TransformerEncoderLayer(16, 2, 32)
    plans = [isoinit.plan(model, torch.randn(length, 2, 16) * 2 + 1) for length in (3, 50)]
    plans.append(isoinit.plan(model, torch.zeros(4, 1, 16)))
    assert len({tuple(str(entry.initializer) for entry in plan) for plan in plans}) == 1
    assert not any(plan.warnings for plan in plans)


def test_of_a_large_example_its_size_counts_and_no_other_number_or_length():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(16, 2, 32)
    large = [torch.randn(length, 2, 16) * 6 + 5 for length in (3, 50)]  # rms √61 = 7.8, nearly 8
    plans = [isoinit.plan(model, example) for example in large]
    assert len({tuple(str(entry.initializer) for entry in plan) for plan in plans}) == 1
    usual = isoinit.plan(model, large[0] / 8)
    for plan in plans:
        assert plan["self_attn.in_proj_weight"].std == usual["self_attn.in_proj_weight"].std / 8
        assert any("depends on the example" in warning for warning in plan.warnings)
