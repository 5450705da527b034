"""The signal before training in deep sparse networks.

    python -m evidence.sparse signal

ReLU networks of equal layers of width 1024 on one batch of standard normal inputs. The number is the
root mean square of the last layer's output before its ReLU, over examples and units; of ours over what
the plan expects: a last layer before which there are few layers starts at a quarter.
"""

from __future__ import annotations

import math
from statistics import mean

import torch
from evidence.sparse.networks import mlp
from sparsimony.nn_init import sparse_init
from torch import nn

import isoinit
from isoinit import sparse

WIDTH, DEPTHS, DENSITIES = 1024, (10, 50), (0.5, 0.1, 0.05, 0.01)
EXAMPLES, SEEDS = 256, range(5)
PEER_DENSITY = 0.1


def batch() -> torch.Tensor:
    """The inputs."""
    return torch.randn(EXAMPLES, WIDTH, generator=torch.Generator().manual_seed(0))


def size(model: nn.Module) -> float:
    """The root mean square of the output."""
    with torch.no_grad():
        return model(batch()).square().mean().sqrt().item()


def ours(depth: int, density: float, seed: int) -> float:
    """From the plan, over its expectation; a half is two of every four inputs, and so stays sparse."""
    with torch.device("meta"):
        model = mlp(*[WIDTH] * (depth + 1))
    plan = isoinit.plan(model, torch.empty(EXAMPLES, WIDTH, device="meta"))
    pattern = "2:4" if density == 0.5 else "fixed"
    expected = [entry.expected for entry in plan if entry.expected][-1]
    return size(sparse.convert(model, plan, density=density, pattern=pattern, seed=seed)) / expected


def martens(weight: torch.Tensor) -> None:
    """What torch has for sparse weights."""
    nn.init.sparse_(weight, sparsity=1 - PEER_DENSITY)


def kaiming(weight: torch.Tensor) -> None:
    """Weights for a dense layer, and a random mask on them."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu")
    weight.mul_(torch.rand_like(weight) < PEER_DENSITY)


def sparsimony(weight: torch.Tensor) -> None:
    """What sparsimony starts with unless told otherwise."""
    mask = (torch.rand_like(weight) < PEER_DENSITY).float()
    weight.copy_(sparse_init("grad_flow", tensor=weight, sparsity_mask=mask) * mask)


PEERS = {
    "torch.nn.init.sparse_": martens,
    "kaiming_normal_ and a random mask": kaiming,
    "sparsimony, its default": sparsimony,
}


def peers(depth: int) -> dict[str, float]:
    """The same number of other initializers at a tenth of the weights."""
    found = {}
    for name, fill in PEERS.items():
        torch.manual_seed(0)
        model = mlp(*[WIDTH] * (depth + 1)).double()  # float32 ends at 1e-45
        with torch.no_grad():
            for layer in model[::2]:
                fill(layer.weight)
                layer.bias.zero_()
            found[name] = model(batch().double()).square().mean().sqrt().item()
    return found


def report() -> list[str]:
    """The page's part."""
    rows, means = [], []
    for depth in DEPTHS:
        for density in DENSITIES:
            found = [ours(depth, density, seed) for seed in SEEDS]
            pooled = math.sqrt(mean(value**2 for value in found))
            means.append(mean(found))
            rows.append(
                f"| {depth} | {100 * density:g} | {means[-1]:.2f} | {pooled:.2f} "
                f"| {min(found):.2f} to {max(found):.2f} |"
            )
            print(rows[-1], flush=True)
    within = sum(0.8 <= value <= 1.25 for value in means)
    theirs = peers(DEPTHS[0])
    lines = [f"| {name} | {value:.1e} |" for name, value in theirs.items()]
    print(*lines, sep="\n", flush=True)
    return [
        "## The signal before training",
        "",
        f"ReLU networks of width {WIDTH} were planned and then converted. The inputs have a root mean",
        "square of 1. The table has the root mean square of the last layer's output before its ReLU,",
        "divided by what the plan expects there (1, or a quarter for the last layer of 10). There are",
        f"{len(SEEDS)} seeds, and {within} of {len(means)} means are within 0.8 and 1.25. A single",
        "network differs from the expected mean square at random.",
        "Networks of 50 layers are planned with mirrored orthogonal matrices. Their sparse form keeps",
        "the size exactly. The pattern that keeps 50 % (two of every four weights) has no such form.",
        "",
        "| layers | kept, % | mean | root mean square over seeds | range over seeds |",
        "|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"Other initializers, after {DEPTHS[0]} layers with {100 * PEER_DENSITY:g} % kept:",
        "",
        "| initializer | root mean square |",
        "|---|---:|",
        *lines,
        "",
    ]
