"""Scores of probabilities, against sums by hand."""

import math

import pytest
import torch

from isoinit.errors import ArgumentError
from isoinit.variational import score


def test_scores_are_those_by_hand():
    probabilities = torch.tensor([[0.8, 0.2, 0.0], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7]])
    found = score(probabilities, torch.tensor([0, 2, 2]))
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.nll == pytest.approx(-(math.log(0.8) + math.log(0.1) + math.log(0.7)) / 3)
    squares = (0.04 + 0.04) + (0.09 + 0.36 + 0.81) + (0.01 + 0.04 + 0.09)
    assert found.brier == pytest.approx(squares / 3)
    assert found.ece == pytest.approx((0.2 + 0.6 + 0.3) / 3)  # a bin for each of the three


def test_what_is_certain_and_right_is_perfect():
    found = score(torch.eye(4), torch.arange(4))
    assert (found.accuracy, found.nll, found.brier, found.ece) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("probabilities", "labels", "words"),
    [
        (torch.ones(2, 3), torch.zeros(2, dtype=torch.long), "sum to 1"),
        (torch.tensor([[1.5, -0.5]]), torch.zeros(1, dtype=torch.long), "negative"),
        (torch.eye(2), torch.zeros(3, dtype=torch.long), r"\(3,\)"),
        (torch.ones(2), torch.zeros(2, dtype=torch.long), r"\(examples, classes\)"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, labels, words):
    with pytest.raises(ArgumentError, match=words):
        score(probabilities, labels)
