"""What pytest and unittest show of a failed check."""

import contextlib
import io
import os

import pytest
import torch
from torch import nn

from isoinit.testing import assert_healthy
from ranks import on_ranks

TESTS = """
import torch, isoinit
from torch import nn
from isoinit.testing import assert_healthy

def sick():
    torch.manual_seed(0)
    layers = [x for _ in range(20) for x in (nn.Linear(32, 32), nn.ReLU())]
    return nn.Sequential(*layers), torch.randn(64, 32)

def test_helper():
    assert_healthy(*sick())

def test_plain():
    assert isoinit.check(*sick()).ok

def test_raises():
    isoinit.check(*sick()).raise_if_unhealthy()

def test_fixture(isoinit_check):
    isoinit_check(*sick(), jacobian=False)

def test_fixture_passes(isoinit_check):
    model, batch = sick()
    isoinit.init(model, batch, seed=0)
    assert isoinit_check(model, batch, strict=True).ok

def test_audit():
    class Forgets(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.empty(64))

    audit = isoinit.audit(Forgets)
    assert audit.ok

def test_other():
    health = 3
    assert health == 4
"""


class Sections:
    """Keeps the types of what stands beneath a test: pytest-xdist sends no subclass of text."""

    def __init__(self):
        self.types = set()

    def pytest_runtest_logreport(self, report):
        self.types |= {type(text) for _, text in report.sections}


def printed(rank, folder):
    """The status of a real pytest, what it prints, and whether all beneath its tests is plain text."""
    os.chdir(folder)
    os.environ["COLUMNS"] = "120"
    kept = Sections()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = pytest.main(["-p", "isoinit_pytest", "-q", "test_models.py"], [kept])
    return int(status), out.getvalue(), kept.types == {str}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What a pytest in a process of its own prints, by test."""
    folder = tmp_path_factory.mktemp("tests")
    (folder / "test_models.py").write_text(TESTS)
    ((status, text, plain),) = on_ranks(1, printed, folder, together=False)
    assert status == 1, text
    assert plain
    _, *parts = text.partition("short test summary")[0].split("____ test_")
    return {part.split()[0]: part for part in parts}


def test_the_helper_fails_in_sentences_at_the_line_of_the_test(shown):
    assert "AssertionError: error: " in shown["helper"]
    assert "shrink by" in shown["helper"]
    assert "check(model, batch" not in shown["helper"]  # no line of isoinit's own


def test_the_fixture_gives_the_helper(shown):
    assert "AssertionError: error: " in shown["fixture"]
    assert "fixture_passes" not in shown  # which is healthy: only failures are shown


@pytest.mark.parametrize("name", ["helper", "plain", "raises", "fixture"])
def test_the_table_of_layers_stands_beneath(shown, name):
    table = shown[name].partition("- isoinit -")[2]
    assert "unhealthy: the signal through 20 layers" in table
    assert "shrink by" in table
    assert "output rms" in table
    assert " 0…38 (20) " in table


def test_an_audit_stands_beneath(shown):
    table = shown["audit"].partition("- isoinit -")[2]
    assert "scale" in table


def test_other_failures_are_left_alone(shown):
    assert "- isoinit -" not in shown["other"]


def test_without_pytest():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(AssertionError, match="symmetry stays unbroken"):
        assert_healthy(model, torch.randn(8, 4))
