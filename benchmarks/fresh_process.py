"""What waits at the beginning of a process: the help, and the first `Plan.apply`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from statistics import median

from benchmarks.timing import Row, emit

REPEATS = 7
HELP = "import sys; sys.argv = ['isoinit', '--help']; from isoinit.cli import main; main()"
FIRST = """
import time
import torch
from transformers import AutoModelForCausalLM, GPT2Config
import isoinit
config = GPT2Config(n_layer=24, n_head=16, n_embd=1024)
began = time.perf_counter()
model = AutoModelForCausalLM.from_config(config)
built = time.perf_counter()
plan = isoinit.plan(model, {"input_ids": torch.zeros(1, 16, dtype=torch.long)})
planned = time.perf_counter()
plan.apply(model, seed=0)
print(time.perf_counter() - planned, built - began)
"""


def rows() -> list[Row]:
    helps = [(processor_time(HELP), processor_time("import torch")) for _ in range(REPEATS)]
    found = [row("isoinit --help, processor time", "import torch", helps)]
    case, peer = "GPT-2 medium, first apply in a process", "from_config"
    output(FIRST)  # compiles the kernels, if no process has
    found.append(row(case, peer, [first() for _ in range(REPEATS)]))
    new = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            new.append(first(NUMBA_CACHE_DIR=folder))
    return [*found, row(f"{case}, which compiles the kernels", peer, new)]


def row(case: str, peer: str, pairs: list[tuple[float, float]]) -> Row:
    return Row(case, peer, median(a for a, _ in pairs), median(b for _, b in pairs))


def first(**variables: str) -> tuple[float, float]:
    """Seconds that the first `apply` of a new process takes, and `from_config` before it."""
    ours, theirs = map(float, output(FIRST, **variables).split()[-2:])
    return ours, theirs


def processor_time(program: str) -> float:
    """Seconds of the processor that a new process takes from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output(program)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def output(program: str, **variables: str) -> str:
    """What a new process of Python prints."""
    command, environment = [sys.executable, "-c", program], {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    emit(rows())
