"""How the cost grows: with operations, parameters, tensors and ranks; each with its exponent.

A row's peer is the smallest case of its own line. The exponent is that of the power law through
both: 1 for what grows in proportion, 0 for what stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

import isoinit
from benchmarks.reading_depth import llama
from benchmarks.timing import Row, emit, timed_first
from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit.initializers.scale import fans

LAYERS = (4, 16, 50, 200)  # of a Llama: 247 to 11,811 operations
DEPTHS = (1000, 5000)
PARAMETERS = (10**6, 10**8, 10**10, 10**12)
TENSORS = (10**2, 10**3, 10**4, 10**5)
RANKS = (1, 2, 4, 8)
REPEATS = 3


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


def line(
    what: str, unit: str, cases: Sequence[tuple[int, Callable[[], object]]], repeats: int = REPEATS
) -> list[Row]:
    """Return a row for each case but the smallest, beside that."""
    taken = [(n, min(timed_first(call) for _ in range(repeats))) for n, call in cases]
    (least, base), *larger = taken
    return [
        Row(
            f"{what}, {n:,} {unit}",
            f"{least:,} {unit}",
            taken_s,
            base,
            f"exponent {exponent(n / least, taken_s / base):.2f}",
        )
        for n, taken_s in larger
    ]


def exponent(growth: float, of_time: float) -> float:
    return math.log(of_time) / math.log(growth)


def operations() -> list[Row]:
    ids = {"input_ids": torch.zeros(1, 16, dtype=torch.long)}
    cases = []
    for layers in LAYERS:
        model = llama(layers)
        count = len(isoinit.read(model, ids).graph.ops)
        cases.append((count, partial(isoinit.plan, model, ids)))
    return line("plan of a Llama", "operations", cases)


def depths(verb: Callable[..., object], build: Callable[[int], nn.Module], kind: str) -> list[Row]:
    x = torch.randn(16, 8)
    what = f"{verb.__name__} of {kind}"
    return line(what, "layers", [(n, partial(verb, build(n), x)) for n in DEPTHS], repeats=1)


def parameters() -> list[Row]:
    cases = []
    for count in PARAMETERS:
        width = math.isqrt(count // 4)
        with torch.device("meta"):
            model = nn.Sequential(*[nn.Linear(width, width, bias=False) for _ in range(4)])
        x = torch.zeros(1, width, device="meta")
        cases.append((count, partial(isoinit.plan, model, x)))
    return line("plan on meta", "parameters", cases)


def tensors() -> list[Row]:
    cases = []
    for count in TENSORS:
        model = nn.ParameterList(nn.Parameter(torch.zeros(8, 8)) for _ in range(count))
        plan = isoinit.plan(model)
        plan.override({"*": isoinit.Normal(std=0.02)})
        cases.append((count, partial(plan.apply, model, 0)))
    cases[-1][1]()  # loads the kernels
    return line("apply to small tensors", "tensors", cases)


def ranks() -> list[Row]:
    shape, initializer = (8192, 8192), isoinit.Normal(std=0.02)
    layout = fans.linear(shape)
    cases = []
    for count in RANKS:
        piece = Piece.whole(shape).shard(0, parts=count, index=0)
        target = np.empty(math.prod(piece.held), np.float32)
        stream = Stream(0, "weight")
        cases.append((count, partial(initializer.fill_piece, target, stream, layout, piece)))
    return line("one rank's part of 8192² normals", "ranks", cases)


def rows() -> list[Row]:
    found = operations() + parameters() + tensors() + ranks()
    for kind, build in (("a plain stack", plain), ("a residual stack", Residual)):
        found += depths(isoinit.plan, build, kind) + depths(isoinit.check, build, kind)
    return found


if __name__ == "__main__":
    emit(rows())
