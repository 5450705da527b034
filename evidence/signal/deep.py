"""Deep plain networks from a plan: the range of pre-activations, and how far gradients lie apart.

    python -m evidence.signal.deep [--seeds 10] [--no-docs]

Writes docs/deep.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from evidence.page import DOCS, write
from torch import nn

import isoinit

STEPS = 200


class Made(nn.Module):
    """An activation that nobody has a formula for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A wave about a line."""
        return torch.sin(x) + 0.3 * x


class Bump(nn.Module):
    """An even activation, whose mean is larger than what it varies by."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A bell."""
        return torch.exp(-x * x)


class Unrolled(nn.Module):
    """One recurrent layer over 200 steps, with a head at every step."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer, self.head = kind(64, 128, batch_first=True), nn.Linear(128, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The head's output at every step."""
        return self.head(self.layer(x)[0])


def perceptron(activation: type[nn.Module]) -> nn.Module:
    """50 layers, 256 wide."""
    sizes = pairwise([64, *[256] * 50])
    layers = [part for a, b in sizes for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def convolutional(activation: type[nn.Module]) -> nn.Module:
    """30 convolutions, 64 channels, on images of 16×16."""
    sizes = pairwise([3, *[64] * 30])
    layers = [part for a, b in sizes for part in (nn.Conv2d(a, b, 3, padding=1), activation())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16 * 16, 10))


ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, Made, Bump)
Case = tuple[Callable[[], nn.Module], Callable[[], torch.Tensor]]
NETWORKS: dict[str, Case] = {
    **{
        f"50 layers, {a.__name__}": (lambda a=a: perceptron(a), lambda: torch.randn(64, 64))  # type: ignore[misc]
        for a in ACTIVATIONS
    },
    **{
        f"30 convolutions, {a.__name__}": (
            lambda a=a: convolutional(a),  # type: ignore[misc]
            lambda: torch.randn(16, 3, 16, 16),
        )
        for a in ACTIVATIONS
    },
    **{
        f"{kind.__name__}, {STEPS} steps": (
            lambda kind=kind: Unrolled(kind),  # type: ignore[misc]
            lambda: torch.randn(16, STEPS, 64),
        )
        for kind in (nn.LSTM, nn.GRU)
    },
}


def gates(layer: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """The input of every gate at every step, from the layer's own states."""
    states = layer(x)[0]
    before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1)
    into = nn.functional.linear(x, layer.weight_ih_l0, layer.bias_ih_l0)
    back = nn.functional.linear(before, layer.weight_hh_l0, layer.bias_hh_l0)
    count = into.shape[-1] // layer.hidden_size
    return [
        gate - gate.mean()
        for step in range(x.shape[1])
        for gate in (into + back)[:, step].chunk(count, -1)
    ]


def measure(name: str, seed: int) -> tuple[float, float, float]:
    """Smallest and largest standard deviation, and the ratio of gradient norms."""
    torch.manual_seed(seed)
    build, make = NETWORKS[name]
    model, x = build(), make()
    isoinit.plan(model, x).apply(model, seed)
    seen: list[float] = []
    if isinstance(model, Unrolled):
        with torch.no_grad():
            seen = [gate.std().item() for gate in gates(model.layer, x)]
    else:
        for module in list(model)[:-1]:  # type: ignore[call-overload]
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.register_forward_hook(lambda _, __, out: seen.append(out.std().item()))
    output = model(x)
    (output - torch.randn_like(output)).square().mean().backward()
    kernels = name.startswith("30")  # a head that reads 16,384 features has a gradient of its size
    trained = [p for p in model.parameters() if p.dim() == 4 or (p.dim() == 2 and not kernels)]
    norms = [p.grad.norm().item() for p in trained if p.grad is not None]
    return min(seen), max(seen), max(norms) / min(norms)


HEAD = """# Deep plain networks from a plan

Written by `python -m evidence.signal.deep`. Does a plan keep signal and gradient in deep networks
without norm layers and skip connections? Each network is initialized by
`isoinit.plan(model, batch).apply(model, seed)` and measured. The table has

- the smallest and the largest standard deviation of a pre-activation (in a recurrent layer: of
  each gate at each step),
- the largest norm of a weight's gradient divided by the smallest, for a mean-square loss on the
  output.

Both are the worst of {seeds} seeds. Ideal values are equal standard deviations and a ratio of 1.

Perceptrons are 256 wide. Convolutional networks have 64 channels on 16×16 pixels; their ratio is
over the 30 convolutions, because the head reads 16,384 features and so has a larger gradient.
Recurrent layers have 128 units and a head at every step. "Made" is sin(x) + 0.3 x, "Bump" is
exp(-x²).

| network | pre-activations | largest/smallest gradient norm |
|---|---|---|
"""


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--no-docs", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for name in NETWORKS:
        found = [measure(name, seed) for seed in range(arguments.seeds)]
        low, high, ratio = zip(*found, strict=True)
        rows.append(f"| {name} | {min(low):.2f} – {max(high):.2f} | {max(ratio):.1f} |")
        print(rows[-1], flush=True)
    if not arguments.no_docs:
        text = HEAD.format(seeds=arguments.seeds) + "\n".join(rows) + "\n"
        write(DOCS / "deep.md", text)


if __name__ == "__main__":
    main()
