"""What a check shows as a page."""

import json

import pytest
import torch
from torch import nn

import isoinit


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(*[x for _ in range(8) for x in (nn.Linear(16, 16), nn.ReLU())])


@pytest.fixture(scope="module")
def batch():
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(0))


def test_what_was_measured_is_drawn_and_listed(model, batch):
    health = isoinit.check(model, batch)
    page = health._page()
    assert page.verdict == ("healthy" if health.ok else "unhealthy")
    assert [remark.sentence for remark in page.remarks] == [f.sentence for f in health.findings]
    assert [remark.where for remark in page.remarks] == [f.where for f in health.findings]
    forward, backward, alike = page.charts
    assert forward.curves[0].values == health.forward
    assert backward.curves[0].values == health.backward
    assert list(forward.names) == [layer.name for layer in health.layers]
    assert not alike.log
    layers, weights = page.tables
    assert [row[0] for row in layers.rows] == list(forward.names)
    assert [row[0] for row in weights.rows] == [name for name, _ in model.named_parameters()]
    assert all(weights.histograms)
    assert "expected" not in layers.columns  # no plan, no learning rate
    assert "first step" not in weights.columns


def test_what_a_plan_expects_and_the_first_step_are_shown_where_they_are_known(model, batch):
    plan = isoinit.plan(model, batch)
    page = isoinit.check(model, batch, plan=plan, lr=1e-3)._page()
    assert [curve.name for curve in page.charts[0].curves][-1] == "expected rms"
    assert "expected" in page.tables[0].columns
    assert "first step" in page.tables[1].columns


def test_files_and_notebooks(model, batch, tmp_path):
    health = isoinit.check(model, batch)
    text = health.to_html(tmp_path / "health.html")
    assert (tmp_path / "health.html").read_text(encoding="utf-8") == text == health.to_html()
    assert health._repr_html_().startswith("<iframe sandbox")
    assert "histogram" not in json.loads(health.to_json())["weights"][0]
