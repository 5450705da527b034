"""What `import isoinit` takes, and what all of its names take after torch, each in a new process."""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from typing import NamedTuple

from benchmarks.timing import Row, emit

HEAVY = ("torch", "numpy", "numba", "rich", "typer", "safetensors", "transformers")
PROGRAM = f"""
import sys
from time import perf_counter
began = perf_counter()
import isoinit
alone = perf_counter()
loaded = [name for name in {HEAVY} if name in sys.modules]
import torch
framework = perf_counter()
for name in isoinit.__all__:
    getattr(isoinit, name)
print(alone - began, framework - alone, perf_counter() - framework, *loaded)
"""


class Seconds(NamedTuple):
    """What one process took."""

    alone: float
    torch: float
    names: float
    loaded: tuple[str, ...]


def rows(repeats: int = 5) -> list[Row]:
    runs = [once() for _ in range(repeats + 1)][1:]  # the first reads the files from disk
    loaded = sorted({name for run in runs for name in run.loaded})
    torch = median(run.torch for run in runs)
    alone = f"import isoinit; loads {', '.join(loaded) or 'none'} of {', '.join(HEAVY)}"
    return [
        Row(alone, "import torch", median(run.alone for run in runs), torch),
        Row(
            "all names of isoinit, after torch",
            "import torch",
            median(r.names for r in runs),
            torch,
        ),
    ]


def once() -> Seconds:
    """Run the program in a new process."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    alone, torch, names, *loaded = done.stdout.split()
    return Seconds(float(alone), float(torch), float(names), tuple(loaded))


if __name__ == "__main__":
    emit(rows())
