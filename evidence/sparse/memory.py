"""The most memory that some work takes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def growth(work: Callable[[], object]) -> float:
    """MiB that the work made resident at most, over what was resident before it."""
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is now what is resident
    work()
    return _resident("VmHWM") - before


def fresh(module: str, *arguments: object) -> float:
    """The number that a module prints last when it is run with these arguments."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout.splitlines()[-1])


def _resident(what: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) / 1024
