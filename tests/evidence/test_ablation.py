"""Taking a rule out of the book, and what is said of it."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import isoinit

sys.path.insert(0, str(Path(__file__).parents[2]))

from evidence.contest.ablation import RULES, document, without
from evidence.contest.protocol import SEEDS

MODEL = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def planned():
    return isoinit.plan(MODEL, torch.zeros(2, 6))


def test_without_a_rule_the_next_decides():
    assert planned()["2.weight"].rule == "ReLU"
    with without("ReLU"):
        assert planned()["2.weight"].rule == "any activation"
    assert planned()["2.weight"].rule == "ReLU"


def test_without_a_shared_part_weights_are_drawn_one_by_one():
    with without("usual: orthogonal where few"):
        assert planned()["2.weight"].initializer == isoinit.HeNormal()
    assert isinstance(planned()["2.weight"].initializer, isoinit.Orthogonal)


@pytest.mark.parametrize("name", RULES)
def test_any_part_can_be_taken_out(name):
    with without(name):
        planned()


def row(name, *differences):
    """Losses whose means differ by these, a model each."""
    noise = [0.01 * (seed % 3) for seed in SEEDS]
    results = {
        f"model {i}": {"with": noise, "without": [n + difference for n in noise]}
        for i, difference in enumerate(differences)
    }
    return {"family": name, "models": len(differences), "results": results}


def test_a_table_says_what_training_supports():
    text = document(
        [
            row("helps", 0.5),
            row("harms", -0.5, -0.7),
            row("mixed", 0.5, -0.4, 0.1, -0.3),
            row("splits", 0.5, -0.4),
            row("saves", math.inf),
            row("unseen"),
        ]
    )
    verdicts = {line.split(" | ")[0][2:]: line for line in text.splitlines() if "model 0" in line}
    assert verdicts["helps"].endswith("× 1.65 | supported |")
    assert verdicts["harms"].endswith("model 1 × 0.50 | contradicted |")
    assert verdicts["splits"].endswith("| models disagree |")
    assert verdicts["mixed"].endswith("| within noise |")
    assert verdicts["saves"].endswith("diverges | supported |")
    assert text.rstrip().endswith("rest: unseen.")
    assert "unseen" not in verdicts
