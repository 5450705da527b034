"""The demo's promise: at least 95 % from the plan, near chance from torch's default."""

import json
import os
import subprocess
import sys


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
    result = json.loads(done.stdout)
    assert result["planned_accuracy"] >= 0.95
    assert result["default_accuracy"] <= 0.2
    assert result["planned_healthy"]
    assert not result["default_healthy"]
    assert (tmp_path / "isoinit-demo.png").read_bytes().startswith(b"\x89PNG")
