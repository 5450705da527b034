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
        assert rule.source or "model's own choice" in rule.reason or rule.initializer is not None


def test_every_entry_has_a_reason_and_a_source():
    model = nn.TransformerEncoderLayer(16, 2, 32)
    for entry in isoinit.plan(model, torch.randn(3, 2, 16)):
        assert entry.reason
        assert entry.source


def test_a_plan_does_not_depend_on_the_numbers_or_the_length_of_the_example():
    model = nn.TransformerEncoderLayer(16, 2, 32)
    plans = [isoinit.plan(model, torch.randn(length, 2, 16) * 9 + 5) for length in (3, 50)]
    plans.append(isoinit.plan(model, torch.zeros(4, 1, 16)))
    assert len({tuple(str(entry.initializer) for entry in plan) for plan in plans}) == 1
