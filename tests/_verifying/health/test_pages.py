"""What a check shows as a page."""

import json

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import ArgumentError


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(*[x for _ in range(8) for x in (nn.Linear(16, 16), nn.ReLU())])


@pytest.fixture(scope="module")
def batch():
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(0))


def drawn(chart, group):
    """What a chart shows of each layer."""
    curves = [curve for curve in chart.curves if curve.group == group]
    return {chart.names[i]: v for c in curves for i, v in zip(c.at, c.values, strict=True)}


def test_what_was_measured_is_drawn_and_listed(model, batch):
    health = isoinit.check(model, batch)
    page = health._page()
    assert page.verdict == ("healthy" if health.ok else "unhealthy")
    assert [remark.sentence for remark in page.remarks] == [f.sentence for f in health.findings]
    assert [remark.where for remark in page.remarks] == [f.where for f in health.findings]
    names = [layer.name for layer in health.layers]
    signal, gradient, apart, together = page.charts
    assert drawn(signal, "") == dict(
        zip(names, [layer.rms for layer in health.layers], strict=True)
    )
    assert drawn(gradient, "") == dict(zip(names, health.backward, strict=True))
    assert drawn(apart, "") == dict(zip(names, health.forward, strict=True))
    assert list(signal.names) == names
    assert [curve.name for curve in signal.curves] == ["0…14"]  # one line, for they are of one kind
    assert not together.log
    layers, weights = page.tables
    assert [row[0] for row in layers.rows] == names
    assert [row[0] for row in weights.rows] == [name for name, _ in model.named_parameters()]
    assert all(weights.histograms)
    assert "expected" not in layers.columns  # no plan, no learning rate
    assert "first step" not in weights.columns


def test_what_a_plan_expects_and_the_first_step_are_shown_where_they_are_known(model, batch):
    plan = isoinit.plan(model, batch)
    health = isoinit.check(model, batch, plan=plan, lr=1e-3)
    page = health._page()
    expected = {entry.name.removesuffix(".weight"): entry.expected for entry in plan}
    measured = {layer.name: layer.rms for layer in health.layers}
    assert drawn(page.charts[0], "expected") == {name: expected[name] for name in measured}
    assert drawn(page.charts[0], "measured") == measured
    layers, weights = page.tables
    assert "expected" in layers.columns
    assert "first step" in weights.columns
    place = weights.columns.index("planned std")
    assert [row[place] for row in weights.rows] == [entry.std for entry in plan]
    forms = {bins.planned.form for bins in weights.histograms}
    assert forms == {"normal", ""} or forms == {""}  # of orthogonal weights only the std is known


def test_what_the_plan_draws_independently_has_a_density(batch):
    model = nn.Linear(16, 16)
    plan = isoinit.plan(model, batch, overrides={"weight": isoinit.Uniform(-0.3, 0.3)})
    plan.apply(model, seed=0)
    page = isoinit.check(model, batch, plan=plan)._page()
    density = page.tables[1].histograms[0].planned
    assert (density.form, density.mean) == ("uniform", 0)
    assert density.std == pytest.approx(0.3 / 3**0.5)


def test_the_verdict_of_a_row_is_that_of_the_worst_finding_about_it(model, batch):
    health = isoinit.check(model, batch)
    named = {name for finding in health.findings for name in finding.where}
    layers, _ = health._page().tables
    for row in layers.rows:
        assert (row[-1] == "ok") == (row[0] not in named)


def test_files_and_notebooks(model, batch, tmp_path):
    health = isoinit.check(model, batch)
    text = health.to_html(tmp_path / "health.html")
    assert (tmp_path / "health.html").read_text(encoding="utf-8") == text == health.to_html()
    assert health._repr_html_().startswith("<iframe sandbox")
    assert "histogram" not in json.loads(health.to_json())["weights"][0]


def test_two_checks_are_shown_as_one(batch, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(*[x for _ in range(20) for x in (nn.Linear(16, 16), nn.ReLU())])
    before = isoinit.check(model, batch)
    isoinit.init(model, batch, seed=0)
    after = isoinit.check(model, batch)
    found = before.diff(after)
    page = found._page()
    assert page.verdict == "unhealthy → healthy"
    assert drawn(page.charts[0], "before") == {x.name: x.rms for x in before.layers}
    assert drawn(page.charts[0], "after") == {x.name: x.rms for x in after.layers}
    layers, _ = page.tables
    assert layers.columns[2:4] == ("output rms before", "output rms after")
    assert {finding.name for finding in found.gone} == {f.name for f in before.findings}
    assert found.new == []
    data = json.loads(found.to_json())
    assert data["ok"] == {"before": False, "after": True}
    assert data["layers"]["after"]["0"]["rms"] == after.layers[0].rms
    assert str(found).startswith("unhealthy before, healthy after")
    text = found.to_html(tmp_path / "both.html")
    assert (tmp_path / "both.html").read_text(encoding="utf-8") == text
    with pytest.raises(ArgumentError, match="other is a dict"):
        before.diff({})
