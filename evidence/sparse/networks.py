"""Networks and their training, which all parts share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import isoinit
from isoinit import sparse

PIXELS, CLASSES = 64, 10
LEAST = 1 / 16  # of the pixels: four a unit, also where the wide layers keep less


@dataclass(frozen=True)
class Setting:
    """How a network is trained."""

    rate: float = 1e-3
    epochs: int = 10
    batch: int = 64

    def __str__(self) -> str:
        return f"step {self.rate:g}, {self.epochs} epochs"


def mlp(*sizes: int) -> nn.Sequential:
    """A ReLU network."""
    parts = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
    return nn.Sequential(*[module for pair in parts for module in pair][:-1])


def classifier(width: int, device: str = "cpu") -> nn.Sequential:
    """Two hidden layers of equal width."""
    with torch.device(device):
        return mlp(PIXELS, width, width, CLASSES)


def dense(width: int, seed: int) -> nn.Module:
    """The planned network."""
    model = classifier(width)
    isoinit.init(model, torch.zeros(64, PIXELS), seed)
    return model


def ours(
    width: int, density: float, seed: int, pattern: str = "fixed", spread: str = "uniform"
) -> nn.Module:
    """The same with its two wide layers sparse, built without their zeros.

    The last layer stays dense, and the first keeps `LEAST` of its pixels or more. A spread other than
    the uniform one settles what each of the two keeps by itself.
    """
    model = classifier(width, "meta")
    plan = isoinit.plan(model, torch.empty(64, PIXELS, device="meta"))
    if spread != "uniform":
        layers = ["0.weight", "2.weight"]
        return sparse.convert(
            model, plan, density=density, spread=spread, parameters=layers, seed=seed
        )
    shares = {"0.weight": max(density, LEAST), "2.weight": density, "*": 1.0}
    return sparse.convert(model, plan, density=shares, pattern=pattern, seed=seed)


def plain(width: int, seed: int) -> nn.Sequential:
    """As torch starts it, for peers."""
    torch.manual_seed(seed)
    return classifier(width)


def sparse_layers(model: nn.Module) -> list[sparse.SparseLinear]:
    """In order."""
    return [layer for layer in model.modules() if isinstance(layer, sparse.SparseLinear)]


def epochs(size: int, setting: Setting, seed: int) -> Iterator[Sequence[torch.Tensor]]:
    """The examples of each step of each epoch, the same for all networks."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(setting.epochs):
        yield torch.randperm(size, generator=generator).split(setting.batch)


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
) -> None:
    """One step of training."""
    optimizer.zero_grad()
    cross_entropy(model(x), y).backward()
    optimizer.step()


def adam(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """The optimizer of all networks."""
    return torch.optim.Adam(model.parameters(), rate, fused=True)


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """In percent."""
    with torch.no_grad():
        return 100 * (model(x).argmax(1) == y).float().mean().item()
