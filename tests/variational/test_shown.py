"""A prediction in the terminal: what it says, and how sure it is."""

import pytest
import torch

from isoinit.variational import Prediction


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def values():
    mean = torch.tensor([[1.0], [-2.0], [30.0]])
    epistemic, aleatoric = torch.tensor([[0.09], [4.0], [900.0]]), torch.full((3, 1), 0.16)
    return Prediction(mean.expand(32, 3, 1), mean, epistemic + aleatoric, epistemic, aleatoric)


def test_a_row_a_quantity():
    assert values().show().splitlines() == [
        "prediction of 3 examples, 1 output each, 32 draws",
        "",
        " of all answers  least  median  largest",
        " ──────────────────────────────────────",
        " mean            -2.00  1.00    30.0",
        " std             0.500  2.04    30.0",
        " epistemic       0.300  2.00    30.0",
        " aleatoric       0.400  0.400   0.400",
        "",
        " std: square root of the total variance; epistemic: the variance between draws;",
        " aleatoric: the data's noise",
    ]


def test_a_row_an_answer_where_asked():
    lines = values().show(verbose=True).splitlines()
    assert lines[2].split() == ["answer", "mean", "std", "epistemic", "aleatoric"]
    assert lines[5].split() == ["1,", "0", "-2.00", "2.04", "2.00", "0.400"]


def test_classes_have_probability_entropy_and_information():
    mean = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    nothing = torch.zeros(2, 2)
    entropy, information = torch.tensor([0.325, 0.693]), torch.tensor([0.0, 0.6])
    made = Prediction(mean.expand(8, 2, 2), mean, nothing, nothing, nothing, entropy, information)
    lines = made.show(verbose=True).splitlines()
    assert lines[2].split() == ["answer", "probability", "entropy", "information"]
    assert lines[4].split() == ["0", "0.900", "0.325", "0"]
    assert lines[5].split() == ["1", "0.500", "0.693", "0.600"]


def test_repr_is_one_line_and_nothing_is_no_fault():
    assert repr(values()) == "<Prediction: 3 examples, 1 output each, 32 draws>"
    none = Prediction(torch.zeros(4, 0, 2), *[torch.zeros(0, 2)] * 4)
    assert "prediction of 0 examples" in str(none)
    assert len(none.show(verbose=True).splitlines()) > 2
