"""The output of a network of distributions before training, beside that of its deterministic plan.

    python -m evidence.variational signal

ReLU networks of equal layers, on one batch of standard normal inputs. The number is the root mean
square of the output over examples, units, draws of the weights and seeds of the means, divided by
that of plain networks filled from the same plan. So the spread of the posterior counts in full.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import torch
import torchbnn
from bayesian_torch.layers import LinearReparameterization
from torch import nn

import isoinit
from isoinit import variational

WIDTHS, DEPTHS, SCALES = (64, 256, 1024, 4096), (2, 10, 50), (0.1, 0.5, 1.0)
EXAMPLES, LARGEST = 32, 100_000_000
HELD = 500_000_000  # weights; more, with their spreads, do not fit into 24 GiB beside other work
LOW, HIGH = 0.8, 1.25


def build(width: int, depth: int) -> nn.Sequential:
    """A ReLU network without norm layers."""
    parts = [(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
    return nn.Sequential(*[module for pair in parts for module in pair][:-1])


def ratios(width: int, depth: int) -> Iterator[tuple[float, float]]:
    """For each scale, the sampled networks' output over the plain ones'."""
    x = torch.randn(EXAMPLES, width, generator=torch.Generator().manual_seed(0))
    with torch.device("meta"):
        shape = build(width, depth)
    plan = isoinit.plan(shape, torch.empty(EXAMPLES, width, device="meta"))
    runs = max(1, min(64, LARGEST // (width * width * depth)))

    def fresh() -> nn.Module:  # one at a time: the largest takes three gigabytes
        return copy.deepcopy(shape).to_empty(device="cpu")

    with torch.no_grad():
        plain = [plan.apply(fresh(), seed)(x).square().mean() for seed in range(runs)]
        for scale in SCALES:
            found = []
            for seed in range(runs):
                torch.manual_seed(seed)
                model = variational.convert(fresh(), plan, scale=scale, seed=seed)
                found.append(model(x).square().mean())
            yield scale, math.sqrt(sum(found) / sum(plain))


def peers(width: int, depth: int) -> dict[str, float]:
    """The standard deviation of the output of the same network in other libraries."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "bayesian-torch": lambda: LinearReparameterization(width, width),
        "torchbnn": lambda: torchbnn.BayesLinear(0, 0.1, width, width),
    }
    found = {}
    for name, make in makers.items():
        torch.manual_seed(0)
        y = torch.randn(EXAMPLES, width)
        with torch.no_grad():
            for layer in range(depth):
                y = make()(y)
                y = y[0] if isinstance(y, tuple) else y
                y = torch.relu(y) if layer < depth - 1 else y
        found[name] = y.std().item()
    return found


def report() -> list[str]:
    """The page's part: one line a network."""
    rows, within = [], 0
    for width in WIDTHS:
        for depth in (depth for depth in DEPTHS if width * width * depth <= HELD):
            numbers = [ratio for _, ratio in ratios(width, depth)]
            within += sum(LOW <= number <= HIGH for number in numbers)
            cells = " | ".join(f"{number:.2f}" for number in numbers)
            rows.append(f"| {width} | {depth} | {cells} |")
            print(rows[-1], flush=True)
    theirs = peers(4096, 3)
    named = ", ".join(f"{name} {value:.0f}" for name, value in theirs.items())
    return [
        "## The signal before training",
        "",
        "The table has the root mean square of the output of sampled ReLU networks, divided by that",
        "of plain networks from the same",
        f"plan. {within} of {len(rows) * len(SCALES)} are within {LOW} and {HIGH}. The largest",
        "networks are single samples, so their numbers vary more. 50 layers of width 4096 were not",
        "run.",
        "",
        "| width | layers | " + " | ".join(f"scale {scale}" for scale in SCALES) + " |",
        "|---:|---:|" + "---:|" * len(SCALES),
        *rows,
        "",
        "In other libraries, the output of a network of 3 layers and width 4096 has this standard",
        f"deviation, for inputs of unit size: {named}.",
        "",
    ]


if __name__ == "__main__":
    print("\n".join(report()))
