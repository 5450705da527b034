"""The memory that training a sparse layer takes beside a dense one, and how many times less that is.

    python -m benchmarks.sparse_memory [threads]

Three steps of one 4096×4096 layer at batch 64, building the layer and fused Adam among them. Each in a
process of its own: the most that is resident, over what was before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from isoinit import sparse

WIDTH, BATCH, STEPS = 4096, 64, 3
DENSITIES = (0.2, 0.1, 0.05, 0.01)


def resident(what: str) -> float:
    """MiB that are resident ("VmRSS") or were at most ("VmHWM")."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) / 1024


def build(width: int, density: float) -> nn.Module:
    """A dense layer at density 1; a sparse one never has its zeros."""
    if density == 1:
        return nn.Linear(width, width)
    return sparse.convert(nn.Linear(width, width, device="meta"), density=density, seed=0)


def train(width: int, density: float) -> None:
    layer = build(width, density)
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    x = torch.randn(BATCH, width, requires_grad=True)
    for _ in range(STEPS):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()


def peak(density: float) -> float:
    """MiB over what was resident before, the kernels loaded."""
    train(128, density)
    sparse.convert(
        nn.Linear(2048, 2048, device="meta"), density=0.3, seed=0
    )  # loads what draws large layers
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is now what is resident
    train(WIDTH, density)
    return resident("VmHWM") - before


def measure(density: float, threads: int) -> float:
    command = [sys.executable, "-m", "benchmarks.sparse_memory", str(threads), str(density)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout)


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count() or 1
    if len(sys.argv) > 2:
        torch.set_num_threads(threads)
        print(peak(float(sys.argv[2])))
        return
    dense = measure(1.0, threads)
    print(f"kept    MiB over what was before  times less  (threads: {threads})")
    print(f"dense   {dense:24.1f}  {1:10.2f}")
    for density in DENSITIES:
        size = measure(density, threads)
        print(f"{density:<6.0%}  {size:24.1f}  {dense / size:10.2f}")


if __name__ == "__main__":
    main()
