"""The demo's promise: at least 95 % from the plan, near chance from torch's default."""

import json
import os
import subprocess
import sys

import pytest

from commands import runner
from isoinit.cli import demo


def keeps_its_promise(result, folder):
    assert result["planned_accuracy"] >= 0.95
    assert result["default_accuracy"] <= 0.2
    assert result["planned_healthy"]
    assert not result["default_healthy"]
    assert (folder / "isoinit-demo.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_keeps_its_promise_in_a_fifth_of_its_epochs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "STEPS", demo.STEPS // 5)
    monkeypatch.setattr(demo, "EPOCHS", demo.EPOCHS // 5)
    assert runner(tmp_path, monkeypatch)("demo", "--json") == 0
    keeps_its_promise(json.loads(capsys.readouterr().out), tmp_path)


@pytest.mark.slow
def test_the_demo_keeps_its_promise(tmp_path):
    command = "from isoinit.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "demo", "--json"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    keeps_its_promise(json.loads(done.stdout), tmp_path)
