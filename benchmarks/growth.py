"""How planning and checking grow with depth: plain stacks and residual ones of narrow layers.

Run by itself, `python -m benchmarks.growth`: it prints processor seconds, and how many times more the
deepest model takes than the shallowest, which has a fifth of its layers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import isoinit

DEPTHS = (1000, 2000, 5000)


class Residual(nn.Module):
    """Layers of a residual stream."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


def plain(layers: int) -> nn.Module:
    """Layers one behind the other."""
    return nn.Sequential(*[m for _ in range(layers) for m in (nn.Linear(8, 8), nn.Tanh())])


def seconds(verb: Callable[..., Any], model: nn.Module, batch: torch.Tensor) -> float:
    start = time.process_time()
    verb(model, batch)
    return time.process_time() - start


if __name__ == "__main__":
    batch = torch.randn(16, 8)
    isoinit.check(plain(20), batch)  # loads what is loaded once
    for name, build in (("plain", plain), ("residual", Residual)):
        for verb in (isoinit.plan, isoinit.check):
            taken = [seconds(verb, build(layers), batch) for layers in DEPTHS]
            told = ", ".join(f"{n}: {t:.1f} s" for n, t in zip(DEPTHS, taken, strict=True))
            print(f"{verb.__name__} {name}: {told}; {taken[-1] / taken[0]:.1f} times", flush=True)
