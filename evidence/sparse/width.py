"""The widest network that trains within 2 GiB, dense and sparse.

    python -m evidence.sparse width

Two hidden layers of equal width between 64 inputs and 10 outputs, Adam, two steps at batch 64. A trial
builds and trains one width in a process of its own, and is measured by what was resident at most over
what was before. The next trial has the width at which the last one would have met the limit, were
memory proportional to the square of the width.
"""

from __future__ import annotations

import math
import sys

import torch
from evidence.sparse import networks
from evidence.sparse.memory import fresh, growth

LIMIT, BATCH, STEPS = 2048, 64, 2
DENSITY, TRIALS = 0.01, 4
START = {1.0: 8192, DENSITY: 65536}
AIM, MULTIPLE = 0.99, 64


def work(width: int, density: float) -> None:
    """Build a network and train it."""
    model = networks.classifier(width) if density == 1 else networks.ours(width, density, 0)
    optimizer = networks.adam(model, 1e-3)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, networks.PIXELS, generator=generator)
    y = torch.randint(networks.CLASSES, (BATCH,), generator=generator)
    for _ in range(STEPS):
        networks.step(model, optimizer, x, y)


def widest(density: float) -> tuple[int, float]:
    """The largest width whose trial met the limit, and what it took in MiB."""
    width, best = START[density], (0, 0.0)
    for _ in range(TRIALS):
        size = fresh("evidence.sparse.width", width, density)
        print(f"{100 * density:g} % of width {width}: {size:.0f} MiB", flush=True)
        if size <= LIMIT:
            best = max(best, (width, size))
        aim = width * math.sqrt(AIM * LIMIT / size)
        if (following := MULTIPLE * int(aim / MULTIPLE)) == width:
            break
        width = following
    return best


def report() -> list[str]:
    """The page's part."""
    found = {density: widest(density) for density in START}
    times = found[DENSITY][0] / found[1.0][0]
    rows = [
        f"| {'dense' if density == 1 else f'{100 * density:g} % kept'} | {width:,} | {size:,.0f} |"
        for density, (width, size) in found.items()
    ]
    print(*rows, f"{times:.1f} times", sep="\n", flush=True)
    return [
        "## The widest network within 2 GiB",
        "",
        f"Networks 64-n-n-10 with fused Adam at batch {BATCH}, from building to the end",
        f"of {STEPS} steps. If {100 * DENSITY:g} % of the middle layer is kept, the widest network",
        f"is {times:.1f} times as wide as the widest dense network.",
        "",
        "| network | width | maximum memory, MiB |",
        "|---|---:|---:|",
        *rows,
        "",
    ]


def main() -> None:
    """One trial: print what it took, with everything loaded before."""
    width, density = int(sys.argv[1]), float(sys.argv[2])
    for small in (64, 2048):  # the second draws enough to load the kernels of large layers
        work(small, 1.0 if density == 1 else 0.3)
    print(growth(lambda: work(width, density)))


if __name__ == "__main__":
    main()
