"""The contest: who is ahead, ranks, and that a race is the same on a second run."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # evidence is no part of the package

from evidence.contest import race as racing  # noqa: E402
from evidence.contest import report  # noqa: E402
from evidence.contest.judge import ahead, judge, scores  # noqa: E402
from evidence.contest.race import logged, race, train  # noqa: E402
from evidence.contest.rivals import contestants, default  # noqa: E402
from evidence.contest.task import Task  # noqa: E402


def drawn(mean, count=8, seed=0):
    return list(mean + 0.1 * np.random.default_rng(seed).standard_normal(count))


def test_a_rival_is_ahead_by_more_than_noise_alone():
    plan = drawn(0.0)
    assert ahead(plan, {"far": drawn(-1.0, seed=1), "same": drawn(0.0, seed=2)}) == ("far",)
    assert ahead(plan, {"behind": drawn(1.0, seed=1), "equal": plan}) == ()
    assert ahead(plan, {"fails": [math.inf] * 8}) == ()
    assert ahead([math.inf] * 8, {"lives": drawn(5.0), "fails": [math.inf] * 8}) == ("lives",)


def test_of_many_equals_hardly_one_is_called_ahead():
    """Of 300 contests of fifteen equals 5 % name one; 10 % is four deviations off."""
    rng = np.random.default_rng(3)
    called = sum(
        bool(ahead(rng.standard_normal(8), {str(i): rng.standard_normal(8) for i in range(14)}))
        for _ in range(300)
    )
    assert called / 300 < 0.1


ROW = {
    "family": "a model",
    "floor": 0.5,
    "results": {
        "plan": {"rate": 1e-3, "training": [1.5, 1.6], "held out": [2.5, 2.5], "out": False},
        "variational": {"same": "plan"},
        "better": {"rate": 1e-3, "training": [0.6, 0.6001], "held out": [3.5, 3.5], "out": False},
        "left": {"rate": 1e-3, "training": [9.5], "held out": [9.5], "out": True},
        "broken": {"error": "ValueError: no"},
    },
}


def test_a_row_is_judged_by_what_is_above_its_floor():
    judged = judge(ROW, "training")
    assert judged.means["plan"] == pytest.approx(math.log(1.0 * 1.1) / 2)
    assert judged.means["variational"] == judged.means["plan"]
    assert judged.means["broken"] == math.inf
    assert judged.best == "better"
    assert judged.behind("plan") == pytest.approx(math.sqrt(1.1) / 0.1, rel=1e-3)
    assert judged.ranks == {"better": 1, "plan": 2.5, "variational": 2.5, "left": 4, "broken": 5}
    assert judged.ahead == ("better",)
    assert judge(ROW, "held out").best == "plan"
    found = scores([judged, judge(ROW, "held out")])
    assert found["better"].rank == pytest.approx(2.0)  # first once, third once behind two equals
    assert found["plan"].near == 0.5


def test_a_section_names_who_is_ahead_and_who_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("evidence.claims.claim.PICTURES", tmp_path)
    section = report.document("fresh", [ROW], "Because of this.")
    assert "**0 of 1**" in section
    assert "a model (better; the plan 10.48 × the best)" in section
    assert "(9)" in section  # out of the race: 9.5 less the floor
    assert "broken on a model: ValueError: no" in section
    assert "Because of this." in section
    assert (tmp_path / "contest-fresh.svg").exists()
    with pytest.raises(ValueError, match="a model: RuntimeError"):
        report.document("fresh", [{"family": "a model", "failed": "RuntimeError: x"}], "")


def line(step):
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(step))
    return x, lambda y: (y - x.sum(1, keepdim=True)).square().mean()


TASK = Task(
    lambda: nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)),
    line,
    lambda: line(10**6),
    None,
    "torch's defaults",
)


def test_a_race_gives_the_same_row_again_and_counts_twins_once(monkeypatch):
    for name, value in {"SEEDS": (0, 1), "STEPS": 5, "TAIL": 1}.items():
        monkeypatch.setattr(racing, name, value)
    monkeypatch.setattr(racing, "train", lambda *a: train(*a, steps=5))

    def few(task):
        starts = contestants(task)
        return {m: starts[m] for m in ("plan", "published", "default", "zero", "lsuv")}

    first, second = race("a line", TASK, few), race("a line", TASK, few)
    assert first == second
    assert json.loads(json.dumps(first)) == first
    assert first["results"]["default"] == {"same": "published"}
    assert first["results"]["plan"]["out"] is False
    assert len(first["results"]["plan"]["training"]) == 2


def test_what_diverges_is_infinite():
    assert train(TASK, default, 1e30, 0, steps=20) == (math.inf, math.inf)
    assert logged(math.inf, 0.0) == math.inf
    assert logged(math.nan, 0.0) == math.inf
