"""Layers whose weights are distributions, beside those of bayesian-torch and torchbnn.

Both sides are made by their own conversion of the same plain network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise

import torch
import torchbnn
from bayesian_torch.layers import LinearFlipout, LinearReparameterization
from torch import nn
from torch.nn.functional import softmax

import isoinit
from benchmarks.timing import Row, compare, emit

WIDTH, BATCH, SAMPLES = 1024, 64, 32


def step(layer: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """A forward and a backward, to the weights and to the input."""

    def call() -> None:
        layer.zero_grad()
        x.grad = None
        y = layer(x)
        (y[0] if isinstance(y, tuple) else y).sum().backward()

    return call


def training() -> list[Row]:
    x = torch.randn(BATCH, WIDTH, requires_grad=True)
    plain = nn.Linear(WIDTH, WIDTH)
    peers = {
        "torchbnn BayesLinear": torchbnn.BayesLinear(0, 0.1, WIDTH, WIDTH),
        "bayesian-torch LinearReparameterization": LinearReparameterization(WIDTH, WIDTH),
        "bayesian-torch LinearFlipout": LinearFlipout(WIDTH, WIDTH),
        "plain nn.Linear, a yardstick": plain,
    }
    rows = []
    for noise in ("common", "local", "flipout"):
        ours = isoinit.variational.convert(plain, noise=noise, seed=0, inplace=False)
        case = f"{WIDTH}² layer, batch {BATCH}, forward and backward, {noise} noise"
        rows += [
            compare(case, step(ours, x), name, step(peer, x), repeats=15)
            for name, peer in peers.items()
        ]
    return rows


def prediction() -> list[Row]:
    sizes = (64, 512, 512, 10)
    x = torch.randn(BATCH, sizes[0])

    def chain(linear: Callable[[int, int], nn.Module]) -> list[nn.Module]:
        pairs = [(linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
        return [module for pair in pairs for module in pair][:-1]

    model = nn.Sequential(*chain(nn.Linear))
    ours = isoinit.variational.convert(model, isoinit.plan(model, x), seed=0, inplace=False)
    loops = nn.Sequential(nn.Sequential(copy.deepcopy(model)), nn.Flatten())  # no known chain
    slow = isoinit.variational.convert(loops, isoinit.plan(loops, x), seed=0)
    theirs = chain(LinearReparameterization)

    def peer() -> None:
        with torch.no_grad():
            outputs = []
            for _ in range(SAMPLES):
                y = x
                for module in theirs:
                    y = module(y, return_kl=False) if hasattr(module, "mu_weight") else module(y)
                outputs.append(softmax(y, -1))
            torch.stack(outputs).mean(0)

    def predict(model: nn.Module) -> Callable[[], object]:
        return lambda: isoinit.variational.predict(model, x, SAMPLES, likelihood="logits")

    name = "bayesian-torch, a loop of forwards"
    case = f"{SAMPLES} samples of a 64-512-512-10 network, batch {BATCH}"
    return [
        compare(f"{case}, outputs drawn", predict(ours), name, peer, repeats=15),
        compare(f"{case}, weights drawn", predict(slow), name, peer, repeats=15),
    ]


if __name__ == "__main__":
    torch.manual_seed(0)
    emit(training() + prediction())
