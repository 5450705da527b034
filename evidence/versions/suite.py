"""Runs a part of the test suite in an environment for a limited time, and counts the outcomes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from evidence.versions.environments import ROOT

# What meets torch, NumPy, Numba, the command line and the disk: the rest is arithmetic.
FOLDERS = """tests/test_unchanged.py tests/_system tests/_writing tests/checkpoint tests/cli
tests/sparse/test_convert.py tests/variational/test_noise.py tests/jax/test_filling.py
tests/keras/test_verbs.py tests/_verifying/auditing tests/_reading/torch""".split()
LINE = re.compile(r"^\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|ERROR|SKIPPED|XFAIL) (tests/\S+.*)$")
SAID = re.compile(r"^(?:FAILED|ERROR) (tests/.*?)(?: - (.*))?$")


def run(python: Path, limit: float, folders: list[str] | None = None) -> dict[str, Any]:
    """Return the counts, and each test that failed with the last line of its error.

    Args:
        python: of the environment.
        limit: seconds after which the run is stopped; what was done until then counts.
        folders: files and folders of tests; by default `FOLDERS`.
    """
    words = [str(python), "-m", "pytest", "-v", "-n", "2", "--dist", "loadfile", "--tb=no", "-q"]
    settings = os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "COLUMNS": "400",
    }
    chosen = [f for f in folders or FOLDERS if (ROOT / f).exists()]
    with subprocess.Popen(
        [*words, "-v", "-p", "no:cacheprovider", *chosen],
        cwd=ROOT,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_listening,
    ) as process:
        stop = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        stop.start()
        assert process.stdout is not None
        counts = {"PASSED": 0, "FAILED": 0, "ERROR": 0, "SKIPPED": 0, "XFAIL": 0}
        failed: dict[str, str] = {}
        for line in process.stdout:
            if found := LINE.match(line.rstrip()):
                counts[found[1]] += 1
                if found[1] in ("FAILED", "ERROR"):
                    failed.setdefault(found[2].split(" - ")[0], "")
            elif found := SAID.match(line.rstrip()):
                failed[found[1]] = (found[2] or "")[:200]
        stop.cancel()
    counts = {key.lower(): count for key, count in counts.items()}
    return {"counts": counts, "failed": failed, "whole": process.returncode in (0, 1)}


def _listening() -> None:
    """Have a test be stopped by Ctrl-C, which a shell's background job leaves out."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
