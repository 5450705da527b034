"""A check in the terminal: one row a kind of layer, no wider and no longer than a screen."""

import math

import pytest
import torch
from torch import nn

import isoinit
from isoinit._showing.findings import Finding
from isoinit._verifying.health.records import LayerHealth
from isoinit._verifying.health.table import ROWS, table
from zoo.vision import ConvNeXt, DenseNet, MobileNetV2, ResNet50, UNet


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def layer(name, rms=1.0, gradient=1.0, **more):
    return LayerHealth(name, 0, rms=rms, gradient=gradient, **more)


def finding(severity, *where):
    return Finding("a name", severity, where, 1.0, 1.0, "source", "advice", f"{severity} found")


BLOCKS = [
    layer("stem", 1.0, 0.25, correlation=0.01),
    *[
        layer(f"h.{i}.{name}", rms * 10.0**-i, 0.5, correlation=0.1 * i)
        for i in range(3)
        for name, rms in (("up", 1.0), ("down", 3.0))
    ],
    layer("head", 0.5, 1.0),
]


def test_one_row_a_kind_with_its_least_median_largest_and_a_curve():
    assert table("healthy", BLOCKS, {}, [], verbose=False).splitlines() == [
        "healthy",
        "",
        " layer   output rms          alike  gradient rms",
        " ───────────────────────────────────────────────",
        " stem    1.0                 0.01   0.25",
        " h.0…2. (3)",
        "   up    0.010 0.10 1.0 █▅▁  0.20   0.50 ▄▄▄",
        "   down  0.030 0.30 3.0 █▅▁  0.20   0.50 ▄▄▄",
        " head    0.50                       1.0",
        "",
        " rms: least median largest, bars by depth; alike: correlation of examples, worst",
    ]


def test_every_layer_where_asked():
    lines = table("healthy", BLOCKS, {}, [], verbose=True).splitlines()
    assert [line.split()[0] for line in lines[4:]] == [x.name for x in BLOCKS]
    assert " h.1.down  0.3         0.10   0.5" in lines


def test_layers_of_other_roles_are_of_other_kinds():
    layers = [layer(f"b.{i}.{j}") for i in range(4) for j in range(2)]
    like = {x.name: x.name[-1] for x in layers}
    assert " b.0…3.0…1 (8)" in str(table("", layers, {}, [], verbose=False))
    text = table("", layers, like, [], verbose=False)
    assert "   0  " in text
    assert "   1  " in text


def test_many_kinds_leave_the_ends_and_those_with_findings():
    words = [a + b for a in "abcdefgh" for b in "stuvwxyz"]
    found = [finding("warning", "cw.weight"), finding("error", "fx")]
    text = table("", [layer(word) for word in words], {}, found, verbose=False)
    shown = [word for word in words if f"\n {word} " in text]
    assert len(shown) == ROWS
    assert {"as", "hz", "cw", "fx"} <= set(shown)
    assert f"and {64 - ROWS} more kinds of layers: show(verbose=True)" in text
    everything = [finding("warning", *words), finding("error", "fx")]
    text = table("", [layer(word) for word in words], {}, everything, verbose=False)
    assert "\n fx " in text


def test_remarks_come_last_and_plain(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = [finding(severity) for severity in ("remark", "warning", "error")]
    lines = table("", BLOCKS, {}, found, verbose=False).splitlines()[-3:]
    assert lines[-1] == " remark: remark found; advice"
    assert "\x1b[31merror:" in lines[0]
    assert "\x1b[33mwarning:" in lines[1]


def test_minus_zero_is_zero():
    text = table("", [layer("a", correlation=-0.001, dead=0.5)], {}, [], verbose=True)
    assert " 0.00 " in text
    assert "-0.00" not in text


MODELS = {
    "ResNet50": lambda: (ResNet50(), torch.randn(2, 3, 64, 64)),
    "DenseNet": lambda: (DenseNet(), torch.randn(2, 3, 32, 32)),
    "MobileNetV2": lambda: (MobileNetV2(), torch.randn(2, 3, 32, 32)),
    "UNet": lambda: (UNet(), torch.randn(2, 3, 32, 32)),
    "ConvNeXt": lambda: (ConvNeXt(), torch.randn(2, 3, 32, 32)),
}


@pytest.mark.parametrize("name", MODELS)
def test_real_models_fit_a_screen(name):
    model, batch = MODELS[name]()
    health = isoinit.check(model, batch)
    lines = health.show().splitlines()
    assert max(map(len, lines)) <= 80
    findings = [line.startswith(" ! ") for line in lines]
    assert [*findings, True].index(True) <= 30
    assert max(map(len, health.show(verbose=True).splitlines())) <= 80


def test_repr_is_one_line():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    batch = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    isoinit.init(model, batch, seed=0)
    assert repr(isoinit.check(model, batch)) == "<Health: healthy, 2 layers>"
    model[0].weight.data[0, 0] = math.nan
    text = repr(isoinit.check(model, batch))
    assert text.startswith("<Health: unhealthy, 2 layers, ")
    assert "error" in text
