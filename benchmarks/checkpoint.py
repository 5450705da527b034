"""Writing initial parameters to a checkpoint, against plain writing of as many bytes.

Both write pieces of 32 MiB to one file in the folder TMPDIR and bring it onto the disk (`fsync`).
`python -m benchmarks.checkpoint 8GB` takes another size, says the ratio and the peak memory of a fresh
process on standard error.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

import isoinit
from benchmarks.timing import Row, emit
from isoinit.checkpoint.sizes import parse_size
from isoinit.checkpoint.writer import PIECE

REPEATS = 3


def model_of(size: int, dtype: torch.dtype) -> torch.nn.Module:
    """Square layers of 64 MB each, or one smaller, that make up the size."""
    width = min(4096, int((size / dtype.itemsize) ** 0.5))
    count = max(1, round(size / (width * width * dtype.itemsize)))
    with isoinit.deferred():
        layers = [torch.nn.Linear(width, width, bias=False, dtype=dtype) for _ in range(count)]
    return torch.nn.Sequential(*layers)


def plan_of(model: torch.nn.Module, method: str = "xavier") -> isoinit.Plan:
    width = model[0].in_features
    return isoinit.plan(model, torch.zeros(1, width, dtype=model[0].weight.dtype), method=method)


def plain(folder: Path, size: int) -> None:
    piece = np.random.default_rng(0).integers(0, 256, PIECE, np.uint8)
    with (folder / "plain").open("wb") as file:
        for start in range(0, size, PIECE):
            file.write(piece[: min(PIECE, size - start)].data)
        file.flush()
        os.fsync(file.fileno())


def timed_in(folder: Path, call) -> float:
    """Seconds that a call takes in a new folder, which is removed afterwards."""
    folder.mkdir()
    os.sync()
    start = time.perf_counter()
    call(folder)
    seconds = time.perf_counter() - start
    shutil.rmtree(folder)
    return seconds


def compare(size: int, dtype: torch.dtype) -> Row:
    model = model_of(size, dtype)
    plan = plan_of(model)
    size = sum(p.nbytes for p in model.parameters())

    def ours(folder: Path) -> None:
        isoinit.write_checkpoint(plan, model, folder, seed=0, max_shard_size=size)

    with tempfile.TemporaryDirectory() as home:
        place = Path(home) / "checkpoint"
        timed_in(place, lambda folder: plain(folder, PIECE))
        small = model_of(PIECE, dtype)
        isoinit.write_checkpoint(plan_of(small), small, place, seed=0)  # loads the kernels
        shutil.rmtree(place)
        pairs = [
            (timed_in(place, ours), timed_in(place, lambda folder: plain(folder, size)))
            for _ in range(REPEATS)
        ]
    kind = str(dtype).removeprefix("torch.")
    case = f"{size / 1e9:.3g} GB of {kind}, to the disk"
    return Row(case, "plain writing", median(a for a, _ in pairs), median(b for _, b in pairs))


def peak(size: int, dtype: torch.dtype, method: str = "xavier") -> None:
    """Write in this process, and print how much memory that took beyond what is loaded."""
    model, small = model_of(size, dtype), model_of(2**20, dtype)
    plan = plan_of(model, method)
    with tempfile.TemporaryDirectory() as home:
        isoinit.write_checkpoint(plan_of(small, method), small, Path(home) / "small", seed=0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        isoinit.write_checkpoint(plan, model, Path(home) / "checkpoint", seed=0)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{after / 1e3:.0f} MB at most, {before / 1e3:.0f} MB before the first piece")


def rows(size: int) -> list[Row]:
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        row = compare(size, dtype)
        kind = str(dtype).removeprefix("torch.")
        command = [sys.executable, "-m", "benchmarks.checkpoint", str(size), kind]
        memory = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        speed = row.peer_s / row.ours_s
        print(f"{row.case}: {speed:.0%} of plain writing; {memory.strip()}", file=sys.stderr)
        found.append(row)
    matrix = 4096**2 * torch.float32.itemsize
    command = [sys.executable, "-m", "benchmarks.checkpoint", str(matrix), "float32", "orthogonal"]
    memory = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(f"an orthogonal matrix of {matrix / 1e6:.0f} MB: {memory.strip()}", file=sys.stderr)
    return found


if __name__ == "__main__":
    size, *kind = [*sys.argv[1:], "1GB"] if len(sys.argv) < 2 else sys.argv[1:]
    total = int(size) if size.isdigit() else parse_size(size)
    if kind:
        peak(total, getattr(torch, kind[0]), *kind[1:])
    else:
        emit(rows(total))
