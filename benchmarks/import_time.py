"""What `import isoinit` adds to `import torch`. Each import runs in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from statistics import median

from benchmarks.timing import Row, emit

LIMIT_S = 0.3
HEAVY = ("numba", "rich", "typer", "safetensors", "transformers")
PROGRAM = f"""
import sys, torch
before = set(sys.modules)
import isoinit
print(*[name for name in {HEAVY} if name in sys.modules and name not in before])
"""


def rows(repeats: int = 5) -> list[Row]:
    runs = [once() for _ in range(repeats + 1)][1:]  # the first reads the files from disk
    loaded = sorted({name for *_, names in runs for name in names})
    case = f"import isoinit after torch; loads {', '.join(loaded) or 'none'} of {', '.join(HEAVY)}"
    return [Row(case, "import torch", median(r[0] for r in runs), median(r[1] for r in runs))]


def once() -> tuple[float, float, list[str]]:
    """Seconds to import isoinit and torch, and the heavy modules that isoinit loaded."""
    command = [sys.executable, "-X", "importtime", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = {
        name: int(cumulative) / 1e6
        for cumulative, name in re.findall(r"\| +(\d+) \| (isoinit|torch)$", done.stderr, re.M)
    }
    return seconds["isoinit"], seconds["torch"], done.stdout.split()


if __name__ == "__main__":
    emit(rows())
