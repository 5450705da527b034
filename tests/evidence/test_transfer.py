"""Transfer's evidence: the best rate, what reusing it costs, and a page that follows the numbers."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # evidence is no part of the package

from evidence.transfer import __main__ as command
from evidence.transfer import report, runs, slopes
from evidence.transfer.curves import Curve, Kept, lower, slope, vertex
from evidence.transfer.doubts import flattest, unhelped
from evidence.transfer.evenness import Slopes
from evidence.transfer.pictures import draw_checks, draw_sweep
from evidence.transfer.runs import Start, share, train, walk
from evidence.transfer.settings import (
    BY_WIDTH,
    CHECKED,
    CHECKS,
    OWN,
    PAST,
    PLAN,
    SCALED,
    SWEEPS,
    TITLES,
    TRANSFER,
)
from evidence.transfer.slopes import measure
from evidence.transfer.tasks import TASKS, Task


def bowl(best, lowest=1.0, seeds=3, noise=0.01):
    """Losses by rate, a parabola: each seed a constant above the one before."""
    return {
        e: [lowest + 0.1 * (e - best) ** 2 + noise * seed for seed in range(seeds)]
        for e in range(-14, -2)
    }


def test_the_vertex_of_a_parabola_is_found_between_rates():
    assert vertex({e: (e + 7.3) ** 2 for e in range(-10, -4)}) == pytest.approx(-7.3)
    assert vertex({-8: 1.0, -7: 0.5, -6: math.inf}) == -7.0
    assert vertex({-7: 0.5}) == -7.0
    curve = Curve.read({str(e): losses for e, losses in bowl(-7.3).items()})
    assert curve.best == -7
    assert (curve.vertex.value, curve.vertex.error) == (pytest.approx(-7.3), pytest.approx(0.0))
    assert list(curve.runs) == sorted(curve.runs)


def test_the_cost_of_a_rate_is_of_pairs():
    curve = Curve(bowl(-7.0, noise=5.0))
    assert curve.cost(-7).value == 0.0
    assert curve.cost(-9).value == pytest.approx(0.4)
    assert curve.cost(-9).error == pytest.approx(0.0, abs=1e-12)  # seeds differ far more
    failed = Curve({**bowl(-7.0), -2: [1.0, 1.0, math.inf]})
    assert failed.cost(-2).value == math.inf
    assert failed.cost(-2).shown(3) == "fails"
    assert failed.best == -7


def test_one_loss_is_lower_by_two_standard_errors_of_pairs():
    assert lower([1.0, 2.0, 3.0], [1.1, 2.1, 3.1])
    assert not lower([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert not lower([1.0, 2.0, 3.0], [1.3, 1.8, 3.1])
    assert lower([1.0, 1.0], [math.inf, 1.0])
    assert not lower([math.inf, 1.0], [math.inf, 1.0])


def test_a_slope_is_that_of_logarithms():
    assert slope({w: 3.0 * w**0.5 for w in (8, 16, 64)}) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="zero"):
        slope({8: 1.0, 16: 0.0})


@pytest.mark.parametrize("other", [-14, -7, -3])
@pytest.mark.parametrize("best", [-16.2, -12.0, -9.0, -8.4, -2.0])
def test_a_walk_ends_when_both_sides_of_the_best_rate_are_tried(best, other):
    tried = []

    def losses(exponent):
        tried.append(exponent)
        return [math.inf if exponent > best + 4 else (exponent - best) ** 2]

    found = walk(losses, -9, (other,))
    lowest = min(found, key=lambda e: found[e])
    assert abs(lowest - best) <= 0.5
    assert {lowest + by for by in range(-PAST, PAST + 1)} <= set(found)
    assert {-9, other} <= set(found)
    assert len(tried) == len(set(tried))


def test_a_walk_of_runs_that_all_fail_ends():
    found = walk(lambda _: [math.inf], -9)
    assert min(found) == runs.LEAST
    assert Curve(found).lowest.value == math.inf


def test_a_schedule_warms_up_and_falls_to_a_tenth():
    shares = [share(step, 100) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[9] == shares[10] == 1.0
    assert shares[-1] == pytest.approx(0.1)


def line(seed):
    generator = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(16, 2, generator=generator)
        yield x, (x.sum(1) > 0).long()


TASK = Task(
    lambda width, depth: nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2)),
    line,
    lambda: torch.zeros(4, 2),
    math.log(2),
    "A line",
)


def start(scheme):
    return Start(
        scheme, lambda: TASK.build(8, 1), lambda: TASK.build(8, 1), TASK.example(), "adamw"
    )


def test_what_diverges_or_does_not_learn_has_failed():
    own = start(OWN)
    assert train(TASK, own, "adamw", -5, 0, 40) < math.log(2)
    assert train(TASK, own, "adamw", -5, 0, 40) == train(TASK, own, "adamw", -5, 0, 40)
    assert train(TASK, own, "sgd", 20, 0, 40) == math.inf


def test_a_plan_is_applied_under_the_seed():
    planned = start(PLAN)
    first, again, other = (planned.model(seed)[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_coordinates_are_the_same_by_the_verb_and_by_a_start_of_ours(monkeypatch):
    """A transfer that `isoinit.coordinates` makes, and one that we make, without its gauges."""
    check = dataclasses.replace(CHECKS["MLP"], widths=(8, 16, 32), depth=2)
    ours = measure(check, TRANSFER)
    monkeypatch.setattr(slopes, "NAMED", {})
    theirs = measure(check, TRANSFER)
    assert ours["kinds"] == theirs["kinds"] == {"0": "input", "2": "hidden", "4": "output"}
    for step, kinds in ours["changes"].items():
        for name, by_width in kinds.items():
            assert theirs["changes"][step][name] == pytest.approx(by_width, rel=1e-4)


def kept(*bests, lowest=1.0):
    return Kept({64 * 2**i: Curve(bowl(best, lowest - 0.1 * i)) for i, best in enumerate(bests)})


GOOD = {
    OWN: kept(-7.0, -9.0, -11.0),
    PLAN: kept(-7.0, -8.0, -10.0),
    TRANSFER: kept(-7.0, -7.2, -7.4, lowest=0.9),
}


def test_verdicts_follow_the_numbers():
    sweep = SWEEPS["width"]
    said = {scheme: report.verdict(TITLES[scheme], sweep, found) for scheme, found in GOOD.items()}
    assert "from width 64 to 256 the best rate goes from 2^-7.0 ± 0.0 to 2^-11.0" in said[OWN]
    assert "16.0 times lower. It **does not stay** within a factor of 2" in said[OWN]
    assert "costs 1.600 ± 0.000" in said[OWN]
    assert "does not get lower" in said[OWN]
    assert "1.3 times lower. It stays within a factor of 2" in said[TRANSFER]
    assert "the loss gets lower" in said[TRANSFER]
    fails = Kept({64: Curve(bowl(-7.0)), 128: Curve({**bowl(-9.0), -7: [math.inf] * 3})})
    assert "Runs of width 128 at the rate of width 64 fail." in report.verdict("x", sweep, fails)


def changed(hidden, end):
    """Changes of two layers whose log2 has these slopes."""
    by_width = {"0": {w: w**hidden for w in (8, 16, 32)}, "2": {w: w**end for w in (8, 16, 32)}}
    row = {
        "layers": 2,
        "kinds": {"0": "hidden", "2": "output"},
        "changes": dict.fromkeys((1, 3), by_width),
    }
    return Slopes.read(json.loads(json.dumps(row)))


CHECKED_GOOD = {OWN: changed(1.0, 1.5), PLAN: changed(0.5, 0.5), TRANSFER: changed(0.1, -0.5)}


def test_only_outputs_may_fall():
    assert changed(0.1, -0.5).uneven(3) == {}
    assert set(changed(-0.4, 0.3).uneven(3)) == {"0", "2"}
    one = {"0": {8: 1.0, 16: 0.0}, "2": {8: 1.0, 16: 1.0}}
    still = Slopes(2, {"0": "hidden", "2": "output"}, {3: one})
    assert still.still(3) == ["0"]
    assert list(still.slopes(3)) == ["2"]
    assert still.slopes(3, bounded=False) == {}


def test_where_it_does_not_help_is_said():
    assert unhelped({"width": GOOD}, {"MLP": CHECKED_GOOD}) == []
    bad = {OWN: kept(-7.0, -7.0, lowest=0.5), PLAN: kept(-7.0, -8.0), TRANSFER: kept(-7.0, -9.0)}
    said = "\n".join(
        unhelped({"width": bad}, {"MLP": {OWN: changed(0.0, 0.0), TRANSFER: changed(1.0, 0.0)}})
    )
    assert "moves by up to a factor of 4.0" in said
    assert "does not always have a lower loss: 1.010, 1.310" in said
    assert "tuned at each width, reaches a lower loss at 64 (0.510 instead of 1.010)" in said
    assert (
        "costs 0.400 ± 0.000 at width 128, and not clearly more without a transfer: 0.000" in said
    )
    assert "uneven under a transfer are `0` +1.00" in said
    assert f"{TITLES[OWN]} is even, too" in said


def test_flat_coordinates_are_set_beside_losses():
    losses = {**GOOD, SCALED: kept(-7.0, -7.0, -7.0, lowest=3.0)}
    (said,) = flattest(losses, {**CHECKED_GOOD, SCALED: changed(0.0, 0.0)})
    assert f"The flattest are those of {TITLES[SCALED]}; which also learned least." in said


def test_a_page_and_its_pictures_are_the_same_again(tmp_path, monkeypatch):
    monkeypatch.setattr("evidence.claims.claim.PICTURES", tmp_path)
    found = {"width": GOOD}, {"MLP": CHECKED_GOOD}
    page = report.document(*found, seconds=120.0)
    assert page == report.document(*found, seconds=120.0)
    assert "Nothing of the kind was found in these runs." in page
    assert "Kosson" in page
    assert f"| {TITLES[TRANSFER]} | 256 | -7.40 ± 0.00 |" in page
    assert "2 minutes on one core" in page
    draw_sweep("width", SWEEPS["width"], GOOD)
    draw_checks({"MLP": CHECKED_GOOD})
    assert {path.name for path in tmp_path.iterdir()} == {
        "transfer-width.svg",
        "transfer-coordinates.svg",
    }


def test_the_base_of_a_transfer_is_run_once_and_its_rate_tried_at_all_sizes(tmp_path, monkeypatch):
    sweep = dataclasses.replace(
        SWEEPS["mlp"], sizes=(64, 128), schemes=BY_WIDTH, also=((SCALED, (128,)),)
    )
    monkeypatch.setitem(command.SWEEPS, "mlp", sweep)
    asked = []

    def cell(sweep, scheme, size, others=()):
        asked.append((scheme, size, *others))
        return {"runs": bowl(-7.0 if size == 64 else -9.0), "seconds": 1.0}

    def one_by_one(look, cells, *_, **__):
        return [look(name) for name in cells]

    monkeypatch.setattr(command, "cell", cell)
    monkeypatch.setattr(command, "sweep", one_by_one)
    monkeypatch.setattr(command, "settle", lambda: None)  # it is for a process of its own
    rows = command.work(["mlp"], 1, None)
    assert asked[:3] == [(OWN, 64), (PLAN, 64), (SCALED, 64)]
    assert set(asked[3:]) == {(scheme, 128, -7) for scheme in (*BY_WIDTH, SCALED)}
    curves = command.swept("mlp", rows)
    assert list(curves) == [*BY_WIDTH, SCALED]
    assert all(list(found.curves) == [64, 128] for found in curves.values())
    assert curves[TRANSFER].base == curves[PLAN].base


def test_settings_are_whole():
    assert {sweep.task for sweep in SWEEPS.values()} <= set(TASKS)
    assert all(sweep.sizes[-1] >= 8 * sweep.base for sweep in SWEEPS.values())
    assert set(CHECKED) >= {OWN, TRANSFER}
    assert runs.LEAST < min(s.start for s in SWEEPS.values()) < runs.MOST
