"""Handwritten digits: what a network loses with its weights, and what it saves.

    python -m evidence.sparse digits [--sweep]

1,797 digits of scikit-learn, pixels/16, networks 64-n-n-10, fused Adam. A fifth is for testing; it is
drawn anew for each seed, and nothing was chosen on it. `--sweep` trains on four fifths of the rest and
scores the last fifth.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from functools import cache
from statistics import mean, median, stdev

import torch
from evidence.sparse import networks
from evidence.sparse.memory import fresh, growth
from evidence.sparse.networks import Setting
from evidence.sparse.peers import pruned, rigl
from sklearn.datasets import load_digits
from torch import nn

WIDE, NARROW, DENSITY = 4096, 1024, 0.05
SEEDS = (0, 1, 2)
DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
PATTERNS = {
    "fixed": {},
    "random": {"pattern": "random"},
    "blocks of 32": {"pattern": "block32"},
    "fixed, erk budget": {"spread": "erk"},
}
# Chosen by --sweep, each method at its width.
SETTINGS = {
    ("dense", WIDE): Setting(0.003, 5),
    ("isoinit", WIDE): Setting(0.001, 10),
    ("dense", NARROW): Setting(0.003, 10),
    ("isoinit", NARROW): Setting(0.01, 10),
    ("torch.nn.utils.prune", NARROW): Setting(0.01, 20),
    ("sparsimony, RigL", NARROW): Setting(0.01, 20),
}
Data = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Run:
    """What came of training: the accuracy after each epoch, in percent, and its seconds."""

    accuracies: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def make(name: str, width: int, seed: int, density: float = DENSITY, **options: str) -> nn.Module:
    """A network by the name of its method; options are ours."""
    if name == "isoinit":
        return networks.ours(width, density, seed, **options)
    if name == "torch.nn.utils.prune":
        return pruned(width, density, seed)
    return (networks.dense if name == "dense" else networks.plain)(width, seed)


def split(seed: int) -> tuple[Data, Data]:
    """Training and test digits."""
    pixels, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1000 + seed))
    return halves((pixels[order].float() / 16, labels[order]))


def halves(data: Data) -> tuple[Data, Data]:
    """The last four fifths and the first."""
    x, y = data
    cut = len(y) // 5
    return (x[cut:], y[cut:]), (x[:cut], y[:cut])


def train(name: str, model: nn.Module, data: Data, held: Data, setting: Setting, seed: int) -> Run:
    """Train a network, and score it on what was held out."""
    optimizer = networks.adam(model, setting.rate)
    steps = -(-len(data[1]) // setting.batch) * setting.epochs
    after = rigl(model, optimizer, DENSITY, steps) if name.endswith("RigL") else lambda: None
    run = Run()
    for epoch in networks.epochs(len(data[1]), setting, seed):
        start = time.perf_counter()
        for picked in epoch:
            networks.step(model, optimizer, data[0][picked], data[1][picked])
            after()
        run.seconds.append(time.perf_counter() - start)
        run.accuracies.append(networks.accuracy(model, *held))
    return run


@cache
def runs(name: str, width: int, density: float = DENSITY, **options: str) -> list[Run]:
    """One for each seed, in the setting of the method."""
    return [
        train(
            name,
            make(name, width, seed, density, **options),
            *split(seed),
            SETTINGS[name, width],
            seed,
        )
        for seed in SEEDS
    ]


def cells(found: list[Run]) -> str:
    """Test accuracy after the last epoch, and the time of an epoch."""
    last = [run.accuracies[-1] for run in found]
    seconds = median(second for run in found for second in run.seconds)
    return f"{mean(last):.1f} ± {stdev(last):.1f} | {seconds:.2g}"


def wide() -> list[str]:
    """The claim: the accuracy of a wide dense network for a part of its time and memory."""
    rows = []
    for name in ("dense", "isoinit"):
        found = runs(name, WIDE)
        size = fresh("evidence.sparse.digits", name)
        label = name if name == "dense" else f"isoinit, {100 * DENSITY:g} %"
        rows.append(f"| {label} | {cells(found)} | {size:.0f} | {SETTINGS[name, WIDE]} |")
        print(rows[-1], flush=True)
    return [
        f"Networks 64-{WIDE}-{WIDE}-10 on handwritten digits. The two wide layers are sparse. Each",
        f"unit of the first keeps at least {networks.LEAST * networks.PIXELS:g} pixels. The table",
        f"has means of {len(SEEDS)} seeds, each with its own test digits, ± the standard deviation",
        "over seeds. Memory is for building and one epoch. The total training time is the time of",
        "an epoch times their number.",
        "",
        "| network | accuracy, % | seconds per epoch | MiB | setting |",
        "|---|---:|---:|---:|---|",
        *rows,
        "",
    ]


def by_density() -> list[str]:
    """One width with fewer and fewer weights; half of them as two of every four."""
    rows = [f"| 100 (dense) | {cells(runs('dense', NARROW))} |"]
    print(rows[-1], flush=True)
    for density in DENSITIES:
        options = {"pattern": "2:4"} if density == 0.5 else {}
        rows.append(f"| {100 * density:g} | {cells(runs('isoinit', NARROW, density, **options))} |")
        print(rows[-1], flush=True)
    return [
        f"By density, networks 64-{NARROW}-{NARROW}-10. Dense: {SETTINGS['dense', NARROW]}.",
        f"Sparse, at all densities: {SETTINGS['isoinit', NARROW]}.",
        "",
        "| kept, % | accuracy, % | seconds per epoch |",
        "|---:|---:|---:|",
        *rows,
        "",
    ]


def by_pattern() -> list[str]:
    """The same density in other places."""
    rows = []
    for name, options in PATTERNS.items():
        layers = networks.sparse_layers(make("isoinit", NARROW, 0, **options))
        kept = ", ".join(f"{layer.places.density:.1%}" for layer in layers)
        found = runs("isoinit", NARROW, DENSITY, **options)
        rows.append(f"| {name} | {kept} | {cells(found)} |")
        print(rows[-1], flush=True)
    return [
        f'By pattern, with {100 * DENSITY:g} % of the weights kept. The column "kept" is for the',
        f"first and the second layer. Blocks can't keep less than {32 / networks.PIXELS:.0%} of the",
        "first layer.",
        "",
        "| pattern | kept | accuracy, % | seconds per epoch |",
        "|---|---|---:|---:|",
        *rows,
        "",
    ]


def others() -> list[str]:
    """Peers at the same density, which multiply dense weights by a mask."""
    rows = []
    for name in ("isoinit", "torch.nn.utils.prune", "sparsimony, RigL"):
        found = runs(name, NARROW, DENSITY)
        rows.append(f"| {name} | {cells(found)} | {SETTINGS[name, NARROW]} |")
        print(rows[-1], flush=True)
    return [
        f"Other libraries, with {100 * DENSITY:g} % of the weights kept: a random mask on torch's",
        "default weights, and RigL, which moves weights during training.",
        "",
        "| library | accuracy, % | seconds per epoch | setting |",
        "|---|---:|---:|---|",
        *rows,
        "",
    ]


def report() -> list[str]:
    """The page's part."""
    return ["## Digits", "", *wide(), *by_density(), *by_pattern(), *others()]


# By width: step sizes, numbers of epochs, and how many seeds.
GRID = {
    WIDE: ((3e-4, 1e-3, 3e-3), (5, 10), 1),
    NARROW: ((1e-3, 3e-3, 1e-2), (10, 20), 2),
}


def sweep() -> None:
    """Print the accuracy on validation digits of every setting, and the best of each method."""
    for name, width in SETTINGS:
        rates, lengths, seeds = GRID[width]
        scores = {}
        for rate in rates:
            found = []
            for seed in SEEDS[:seeds]:
                data, held = halves(split(seed)[0])
                setting = Setting(rate, max(lengths))
                found.append(train(name, make(name, width, seed), data, held, setting, seed))
            for epochs in lengths:
                score = mean(run.accuracies[epochs - 1] for run in found)
                scores[score, -epochs, -rate] = Setting(rate, epochs)
                print(f"{name} {width}: {score:.2f} {Setting(rate, epochs)}", flush=True)
        print("BEST", name, width, repr(scores[max(scores)]), flush=True)


def main() -> None:
    """Print the memory that one epoch of a wide network takes, with everything loaded before."""
    name = sys.argv[1]
    data, held = split(0)

    def work(width: int) -> None:
        train(name, make(name, width, 0), data, held, Setting(epochs=1), 0)

    work(128)
    work(2048)  # draws enough to load what large layers are drawn with
    print(growth(lambda: work(WIDE)))


if __name__ == "__main__":
    main()
