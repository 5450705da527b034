"""Runs the test suite in an environment for a limited time, and counts the outcomes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from evidence.versions.environments import ROOT

# What is left out tells the same everywhere: the project's own text, layout, package and evidence.
LEFT_OUT = """tests/evidence tests/test_benchmarks.py tests/test_docs.py tests/test_house.py
tests/test_package.py tests/test_site.py tests/test_supported.py tests/test_words.py""".split()
LINE = re.compile(r"^\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|ERROR|SKIPPED|XFAIL) (tests/\S+.*)$")
SAID = re.compile(r"^(?:FAILED|ERROR) (tests/.*?)(?: - (.*))?$")


def run(python: Path, limit: float, folders: list[str] | None = None) -> dict[str, Any]:
    """Return the counts, and each test that failed with the last line of its error.

    Args:
        python: of the environment.
        limit: seconds after which the run is stopped; what was done until then counts.
        folders: files and folders of tests; by default all but `LEFT_OUT`.
    """
    words = [str(python), "-m", "pytest", "-v", "-n", "2", "--dist", "loadfile", "--tb=no", "-q"]
    settings = os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "COLUMNS": "400",
    }
    chosen = folders or ["tests", *(f"--ignore={path}" for path in LEFT_OUT)]
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
