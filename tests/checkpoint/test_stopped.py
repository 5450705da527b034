"""Whatever stops a write, nothing takes the folder for a checkpoint, and the next run completes it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import isoinit


@pytest.mark.skipif(sys.platform == "win32", reason="it forks")
@pytest.mark.parametrize("kind", ["safetensors", pytest.param("dcp", marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, kind):
    script = Path(__file__).with_name("kills.py")
    model = nn.Sequential(*[nn.Linear(40, 40) for _ in range(6)])
    isoinit.plan(model, torch.zeros(2, 40)).save(tmp_path / "plan.json")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), kind],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killed, parts = map(int, done.stdout.split())
    assert killed >= 25
    assert parts >= 5  # most kills hit in the middle
