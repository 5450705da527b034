"""Handwritten digits, and the batch of a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

BATCH = 64

Step = tuple[Any, Callable[[Any], torch.Tensor] | None]


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 handwritten digits of 64 pixels, standardized, and what they are."""
    data = load_digits()
    x = torch.tensor(data.data, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(data.target)


def some(step: int, most: int, count: int) -> torch.Tensor:
    """What the batch of a step is made of: as many numbers below `most`."""
    return torch.randint(most, (count,), generator=torch.Generator().manual_seed(step))


def fitted(model: nn.Module, rate: float, steps: int) -> list[float]:
    """The losses of a training with Adam on digits to be told apart."""
    optimizer, losses = torch.optim.Adam(model.parameters(), rate), []
    for step in range(steps):
        x, loss = classified(step)
        value = loss(model(x))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def classified(step: int, shape: tuple[int, ...] = (64,)) -> Step:
    """Digits to be told apart, each in a shape."""
    x, y = digits()
    rows = some(step, len(x), BATCH)
    return x[rows].unflatten(1, shape), lambda output: cross_entropy(output, y[rows])
