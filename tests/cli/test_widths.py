"""`isoinit transfer` and `isoinit coordinates`, as a user runs them."""

import json
from pathlib import Path

import pytest

import isoinit
from commands import runner

MODEL = """
import torch
from torch import nn


def build(width):
    layers = nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)
    return nn.Sequential(*layers), (torch.randn(64, 8), torch.arange(64) % 4), nn.CrossEntropyLoss()


def heads(width):
    return nn.MultiheadAttention(width, 4), tuple(torch.randn(3, 5, width) for _ in range(3))


def alone(width):
    return build(width)[0]


def without():
    return alone(8)


def by_name(name):
    return alone(len(name))
"""
FEW = ("--widths", "32,64,128")


@pytest.fixture
def status(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODEL)
    return runner(tmp_path, monkeypatch)


def test_coordinates_of_a_transfer(status, capsys):
    assert status("coordinates", "models.py:build", *FEW, "--html", "page.html") == 0
    shown = capsys.readouterr()
    title = " ".join(shown.out.splitlines()[:2])
    assert title.startswith("even: Sequential at widths 32, 64, 128, 3 steps of adamw at 0.002")
    assert "<!doctype html>" in Path("page.html").read_text(encoding="utf-8")
    assert shown.err == ""  # no bar where no terminal is


def test_coordinates_of_one_learning_rate_for_all(status, capsys):
    more = ("--standard", "--optimizer", "adam", "--lr", "0.001", "--steps", "2", "--seeds", "3")
    assert status("coordinates", "models.py:build", *FEW, *more, "--seed", "4", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["seeds"], found["steps"]) == (False, [4, 5, 6], 2)
    assert (found["optimizer"], found["lr"]) == ("adam", 0.001)
    assert found["parametrization"] == "standard"


def test_the_base_and_annotations(status, capsys):
    more = ("--base", "16", "--github", "--standard", "--verbose")
    assert status("coordinates", "models.py:build", *FEW, *more) == 1
    assert "::error title=isoinit%3A grows with width::" in capsys.readouterr().out


def test_a_transfer_is_saved(status, capsys):
    sizes = ("--base", "16", "--target", "64")
    more = ("--optimizer", "adam", "--decay", "sqrt", "--depth", "none", "--out", "plan.json")
    assert status("transfer", "models.py:build", *sizes, *more, "--json") == 0
    plan = isoinit.Plan.load("plan.json")
    assert json.loads(capsys.readouterr().out) == json.loads(plan.to_json())
    assert (plan.transfer.optimizer, plan.transfer.decay, plan.transfer.depth) == (
        "adam",
        "sqrt",
        None,
    )
    assert plan["2.weight"].factors.lr == 0.25


def test_a_transfer_is_shown(status, capsys):
    assert status("transfer", "models.py:alone", "--base", "16", "--target", "64") == 0
    assert "hidden weight" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("models.py:build", "--widths", "32,64"), "widths=(32, 64): expected three"),
        (
            ("models.py:build", "--widths", "32,x,128"),
            "--widths '32,x,128': expected integers",
        ),
        (("models.py:build", *FEW, "--base", "64"), "base=64 is larger than width 32"),
        (("models.py:build", *FEW, "--seeds", "1"), "seeds=range(0, 1)"),
        (("models.py:without", *FEW), "calling without(32) failed: TypeError"),
        (("models.py:by_name", *FEW), "Expected a function that takes only a width"),
        (("models.py:heads", "--widths", "32,50,128"), "calling heads(50) failed: AssertionError"),
        (("models.py:unmade", *FEW, "--html", "none/page.html"), "there is no folder none"),
    ],
)
def test_wrong_use(status, capsys, arguments, said):
    assert status("coordinates", *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--base", "64"), "Missing option '--target'"),
        (("--base", "64", "--target", "32"), "base=64 is larger than target=32"),
        (("--base", "32", "--target", "64", "--out", "none/plan.json"), "there is no folder none"),
        (("--base", "32", "--target", "64", "--decay", "half"), "decay='half'"),
        (("--base", "32", "--target", "64", "--optimizer", "lion"), "optimizer='lion'"),
    ],
)
def test_wrong_use_of_transfer(status, capsys, arguments, said):
    assert status("transfer", "models.py:build", *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_batch_is_made_where_the_function_gives_none(status, capsys):
    assert status("coordinates", "models.py:alone", *FEW, "--steps", "1", "--json") in (0, 1)
    assert "random inputs (2×8)" in capsys.readouterr().err
