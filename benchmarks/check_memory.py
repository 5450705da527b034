"""The memory that `isoinit.check` takes beside that of a training step, by depth.

    python -m benchmarks.check_memory

Each in a process of its own: the most that is resident, over what was before.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from torch import nn

import isoinit


def block() -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(512), nn.Linear(512, 2048), nn.GELU(), nn.Linear(2048, 512))


class Net(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block() for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.blocks:
            x = x + layer(x)
        return x


def resident() -> float:
    """MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def peak(what: str, depth: int) -> float:
    """MiB over what was resident before."""
    torch.set_num_threads(1)
    isoinit.check(Net(1), torch.randn(4, 512))  # what is loaded on first use is no part of it
    model, batch = Net(depth), torch.randn(2048, 512)
    most, stop = [before := resident()], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            most[0] = max(most[0], resident())
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    if what == "check":
        isoinit.check(model, batch, loss=lambda y: y.square().mean())
    else:
        model(batch).square().mean().backward()
        torch.optim.SGD(model.parameters(), lr=1e-6).step()
    stop.set()
    thread.join()
    return most[0] - before


def main() -> None:
    if len(sys.argv) > 1:
        print(peak(sys.argv[1], int(sys.argv[2])))
        return
    print("depth  training step  check  (MiB over what was before)")
    for depth in (4, 8, 16, 32):
        sizes = [
            float(
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.check_memory", what, str(depth)],
                    capture_output=True,
                    check=True,
                    text=True,
                ).stdout
            )
            for what in ("step", "check")
        ]
        print(f"{depth:5}  {sizes[0]:13.0f}  {sizes[1]:5.0f}")


if __name__ == "__main__":
    main()
