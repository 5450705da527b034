"""The sweep of whole libraries: what it notes of a model, how it trains one, and its page."""

import ast
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # evidence is no part of the package

from evidence.libraries import catalogue, report, training
from evidence.libraries import look as looking

from evidence import sweep as sweeping


def layer(name, expected, rms):
    return SimpleNamespace(name=name, expected=expected, rms=rms)


def stack(std):
    torch.manual_seed(0)
    layers = [m for _ in range(12) for m in (nn.Linear(16, 16), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(16, 4))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std if parameter.dim() > 1 else 0)
    return model


def looked(monkeypatch, model, batch):
    monkeypatch.setattr(catalogue, "build", lambda library, name: (model, batch))
    return looking.look("some: model")


def test_layers_far_from_the_expected_size_come_worst_first():
    layers = [
        layer("right", 1.0, 1.9),
        layer("small", 1.0, 0.4),
        layer("large", 1.0, 30.0),
        layer("both zero", 0.0, 0.0),
        layer("not known", None, 5.0),
        layer("not measured", 1.0, math.nan),
        layer("right", 1.0, 100.0),  # used again
    ]
    known, off = looking.far_off(layers)
    assert known == 4
    assert off == [("large", 1.0, 30.0), ("small", 1.0, 0.4)]


def test_a_size_expected_of_nothing_is_the_farthest():
    off = looking.far_off([layer("far", 1.0, 99.0), layer("nothing", 0.0, 1e-9)])[1]
    assert [name for name, *_ in off] == ["nothing", "far"]


def test_a_model_without_fault_is_looked_at_in_every_stage(monkeypatch):
    row = looked(monkeypatch, stack(0.25), torch.randn(32, 16))
    assert row["runs"]
    assert row["own"] == row["planned"] == []
    assert row["expected"] == 13
    assert row["off"] == []
    assert row["trains"] == {}
    assert json.loads(json.dumps(row))["examples"] == 32


def test_a_model_with_an_error_is_trained(monkeypatch):
    row = looked(monkeypatch, stack(1e-4), torch.randn(32, 16))
    assert "vanishing signal" in report.errors(row, "own")
    assert [run["rate"] for run in row["trains"]["own"]] == list(training.RATES)
    assert report.errors(row, "planned") == []
    assert "planned" not in row["trains"]


def test_a_model_that_does_not_run_says_why(monkeypatch):
    row = looked(monkeypatch, nn.Linear(3, 2), torch.randn(4, 5))
    assert not row["runs"]
    assert "shapes cannot be multiplied" in row["why"]


def test_a_stage_that_takes_too_long_is_told():
    row = {}
    with looking._stage("plan", row), looking._within(0.05):
        while True:
            pass
    assert row["plan_error"] == f"took more than {looking.STAGE_S} s"


def test_a_stage_that_raises_is_told_with_its_place():
    row = {}
    with looking._stage("plan", row):
        raise IndexError("none there")
    assert row["plan_error"].startswith("IndexError: none there (test_libraries.py:")


def test_a_model_that_learns_is_told_from_one_that_does_not():
    torch.manual_seed(0)
    batch = torch.randn(8, 16)
    learns = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    dead = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    nn.init.constant_(dead[0].bias, -1e6)  # no unit is ever active
    dead[2].bias.requires_grad = False
    assert training.learns(training.trains(learns, batch, 0))
    runs = training.trains(dead, batch, 0)
    assert not training.learns(runs)
    assert all(run["used"] == 3 and run["moved"] == 0 for run in runs)
    assert runs[0]["still"] == ["0.bias", "0.weight", "2.weight"]


def test_a_loss_that_a_few_biases_lower_alone_is_no_learning():
    run = {"start": 1.0, "end": 0.5, "moved": 0.9}
    assert training.learns([run])
    assert not training.learns([run | {"moved": 0.1}])
    assert not training.learns([run | {"end": 0.95}, run | {"end": None}])
    assert training.learns([run | {"start": -1.0, "end": -2.0}])
    assert not training.learns([run | {"start": -1.0, "end": -0.9}])


def test_training_leaves_the_model_as_it_was():
    model = nn.Linear(4, 2)
    before = model.weight.clone()
    training.trains(model, torch.randn(4, 4), 0)
    assert torch.equal(model.weight, before)


def test_what_a_model_minimizes_comes_first():
    class Likelihood(nn.Linear):
        def objective(self, output):
            return (output - 3).square().mean()

    runs = training.trains(Likelihood(4, 1), torch.zeros(8, 4), 0)
    assert runs[0]["start"] == pytest.approx(9, rel=0.5)


def test_the_target_of_a_map_is_the_same_at_all_places():
    target = training.target(torch.Size([4, 64, 6, 6]), 0)
    assert torch.equal(target, target[..., :1, :1].expand_as(target))
    assert target.std() == pytest.approx(1, abs=0.2)  # 256 values; 0.2 is 4.5 standard errors
    assert training.target(torch.Size([4, 6, 8]), 0).unique().numel() == 4 * 6 * 8


def test_rows_are_read_back_but_for_a_torn_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert sweeping.rows_of(path) == {}
    path.write_text('{"family": "one", "runs": true}\n{"family": "two", "ru')
    assert sweeping.rows_of(path) == {"one": {"family": "one", "runs": True}}


RUN = {"rate": 1e-3, "start": 1.0, "end": 0.5, "moved": 0.75}
FOUND = [
    {
        "family": "one: wrong",
        "library": "one",
        "name": "wrong",
        "runs": True,
        "own": [("no gradient", "error", ""), ("no gradient", "error", ""), ("x", "warning", "")],
        "planned": [("symmetry", "error", "")],
        "trains": {"own": [RUN, RUN], "planned": [RUN | {"end": 0.95}, RUN | {"end": None}]},
        "plan_s": 1.5,
        "warnings": ["look"],
        "expected": 4,
        "off": [["layer", 1.0, 8.0], ["other", 1.0, 3.0]],
    },
    {
        "family": "one: broken",
        "library": "one",
        "name": "broken",
        "runs": True,
        "own": [],
        "plan_error": "IndexError: none",
        "plan_s": 0.5,
        "trains": {},
    },
    {"family": "two: stopped", "runs": False, "why": "took more than 600 s"},
]


def test_the_page_says_what_was_found():
    page = report.document(FOUND, 60)
    assert "- 2 models of 1 libraries; 1 more did not run." in page
    assert (
        "- Initialized by its library: 1 of 2 models have an error; 1 of them train, of 0" in page
    )
    assert "- Initialized by the plan: 1 of 1 models have an error; 0 of them train, of 0" in page
    assert "- Of 4 layers with an expected size, 2 (50.0%) are" in page
    assert "| one |  | 2 | 1 | 1 | 1 | 1 | 1 | 0 | 4 | 2 | 1.5 |" in page
    assert "| no gradient | yes | 1 → 0.5 | 1 → 0.5 | 75% |" in page
    assert "| symmetry | **no** | 1 → 0.95 | 1 → not finite | 75% |" in page
    assert "| 4 | 2 | `layer` | 1 | 8 |" in page
    assert "| one: broken | plan | IndexError: none |" in page
    assert "| two: stopped | took more than 600 s |" in page


def test_a_training_that_took_too_long_is_not_known():
    page = report.document([FOUND[0] | {"trains": {"own": "took more than 120 s"}}], 60)
    assert "1 of 1 models have an error; 0 of them train, of 1 it is not known." in page
    assert "| no gradient | not known: took more than 120 s | | |  |" in page


def test_a_page_of_nothing_found_has_no_empty_tables():
    page = report.document([FOUND[1] | {"plan_error": "x"}], 60)
    assert "## Errors\n\nNone." in page
    assert "## Models that did not run\n\nNone." in page


SWEEP = """
import signal
from evidence import sweep as sweeping

def look(name):
    while name == "endless":
        pass
    return {"family": name, "runs": True}

sweeping.PATIENCE = 100
signal.signal(signal.SIGXCPU, signal.SIG_IGN)  # as a library may have set it
print(sweeping.sweep(look, ["endless", "quick"], 2, "looking", limit_s=1))
"""


def test_a_look_that_takes_too_long_is_ended_after_its_processor_time():
    # In a process of its own, as every sweep is: a look is a fork, and forks of a process in which
    # other tests have left threads may crash.
    command = [sys.executable, "-c", SWEEP]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    endless, quick = ast.literal_eval(ran.stdout.splitlines()[-1])
    assert endless == {"family": "endless", "runs": False, "why": "took more than 1 s"}
    assert quick["runs"]
