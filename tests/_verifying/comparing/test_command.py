"""`isoinit compare`, as a user runs it."""

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands import runner

MODEL = """
import torch
from torch import nn

SLEEP = 0


class Slow(nn.Sequential):
    def forward(self, x):
        import time
        time.sleep(SLEEP)
        return super().forward(x)


def build():
    layers = [x for _ in range(4) for x in (nn.Linear(8, 8), nn.ReLU())]
    targets = torch.randn(16, 8)
    return nn.Sequential(*layers), torch.randn(16, 8), lambda y: (y - targets).square().mean()


def slow():
    global SLEEP
    SLEEP = 0.02
    return Slow(nn.Linear(8, 8)), torch.randn(16, 8)


def unclear():
    return nn.Bilinear(2, 3, 4)


def wrong():
    return nn.Linear(8, 8), torch.zeros(2, 8), "mse"
"""


@pytest.fixture
def status(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODEL)
    return runner(tmp_path, monkeypatch)


def test_two_tables(status, capsys):
    few = ("--methods", "default, plan", "--steps", "5", "--seeds", "2", "--html", "page.html")
    assert status("compare", "models.py:build", *few) == 0
    assert "<!doctype html>" in Path("page.html").read_text(encoding="utf-8")
    shown = capsys.readouterr()
    assert "at the start: the signal by depth" in shown.out
    assert "5 steps of adam at 0.001, 2 seeds: one batch" in shown.out
    assert shown.err == ""  # no bar where no terminal is


def test_json_repeats(status, capsys):
    def found():
        few = ("--methods", "plan,he", "--steps", "4", "--seeds", "1", "--seed", "9", "--json")
        assert status("compare", "models.py:build", *few) == 0
        return json.loads(re.sub(r'"(\w*seconds)": [\d.e-]+', r'"\1": 0', capsys.readouterr().out))

    first = found()
    assert first == found()
    assert first["seeds"] == [9]
    assert [m["method"] for m in first["methods"]] == ["plan", "he"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("models.py:build", "--methods", "kaiming"), "'kaiming'"),
        (("models.py:unclear",), "without a batch"),
        (("models.py:wrong",), "returned a str as its loss"),
        (("models.py:build", "--seeds", "0"), "seeds="),
        (("models.py:unmade", "--html", "none/page.html"), "there is no folder none"),
    ],
)
def test_wrong_use(status, capsys, arguments, said):
    assert status("compare", *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(status, tmp_path):
    """A terminal's Ctrl-C in the middle of the second training."""
    terminal, other = os.openpty()
    words = "compare models.py:slow --methods default,plan,he --steps 100".split()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("isoinit"), *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=other,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(other)
    bar = ""
    while "plan, seed 0" not in bar:  # the bar tells where it is
        assert select.select([terminal], [], [], 60)[0]
        bar += os.read(terminal, 4096).decode()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 130
    assert "interrupted: what was done until then is shown" in out
    after = out.split("steps of")[1]
    assert re.search(r"^ default .*\(", after, re.MULTILINE)
    assert re.search(r"^ plan .*not complete", after, re.MULTILINE)
    assert not re.search(r"^ he ", after, re.MULTILINE)
