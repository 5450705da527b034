"""A layer of 4096² that stores its kept weights alone, beside a dense one: training and inference.

A step is a forward, a backward to the weights and to the input, and fused Adam, on both sides.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import prune

from benchmarks.timing import Row, compare, emit
from isoinit import sparse

WIDTH = 4096
DENSITIES, BATCHES = (0.2, 0.1, 0.05, 0.01), (64, 512)
DENSE, DENSITY = "nn.Linear", 0.1


class Csr(nn.Module):
    """The same kept weights, multiplied by torch's own sparse product."""

    def __init__(self, layer: sparse.SparseLinear) -> None:
        super().__init__()
        self.values = nn.Parameter(layer.values.detach().clone())
        self.bias = nn.Parameter(layer.bias.detach().clone())
        self.places = layer.places.starts, layer.places.columns
        self.shape = layer.out_features, layer.in_features
        self.made: torch.Tensor | None = None  # kept for inference

    def weight(self) -> torch.Tensor:
        if torch.is_grad_enabled() or self.made is None:
            self.made = torch.sparse_csr_tensor(*self.places, self.values, self.shape)
        return self.made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sparse.mm(self.weight(), x.T).T + self.bias


def ours(
    density: float = DENSITY, pattern: str = "fixed", dtype: torch.dtype | None = None
) -> sparse.SparseLinear:
    layer = nn.Linear(WIDTH, WIDTH, device="meta", dtype=dtype)
    return sparse.convert(layer, density=density, pattern=pattern, seed=0)


def pruned(dense: nn.Linear, density: float) -> nn.Linear:
    """A dense layer behind a mask: `torch.nn.utils.prune`."""
    return prune.random_unstructured(copy.deepcopy(dense), "weight", amount=1 - density)


def step(layer: nn.Module, batch: int, dtype: torch.dtype | None = None) -> Callable[[], None]:
    """A training step; the loss is a fixed direction of the output."""
    generator = torch.Generator().manual_seed(0)
    x, direction = torch.randn(2, batch, WIDTH, generator=generator).to(dtype or torch.float32)
    x.requires_grad_()
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)

    def call() -> None:
        optimizer.zero_grad()
        x.grad = None
        layer(x).backward(direction)
        optimizer.step()

    return call


def inference(layer: nn.Module) -> Callable[[], None]:
    """A forward of one example."""
    x = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(0))

    def call() -> None:
        with torch.no_grad():
            layer(x)

    return call


def name(density: float, batch: int, kind: str = "") -> str:
    return f"{100 * density:g} % kept, batch {batch}{kind}"


def training(dense: nn.Linear) -> list[Row]:
    """By density and batch, and the pattern of blocks."""
    rows = []
    for batch in BATCHES:
        peer = step(dense, batch)
        rows += [
            compare(name(density, batch), step(ours(density), batch), DENSE, peer, 5)
            for density in DENSITIES
        ]
    case = name(DENSITY, BATCHES[0], ", blocks of 32")
    mine = step(ours(pattern="block32"), BATCHES[0])
    return [*rows, compare(case, mine, DENSE, step(dense, BATCHES[0]))]


def peers(dense: nn.Linear) -> list[Row]:
    """Other ways to train a sparse layer."""
    layer, case = ours(), name(DENSITY, BATCHES[0])
    mine = step(layer, BATCHES[0])
    others = {
        "torch.sparse.mm of CSR": Csr(layer),
        "torch.nn.utils.prune": pruned(dense, DENSITY),
    }
    return [compare(case, mine, kind, step(other, BATCHES[0]), 3) for kind, other in others.items()]


def bfloat16() -> Row:
    kind, batch = torch.bfloat16, BATCHES[0]
    dense, layer = nn.Linear(WIDTH, WIDTH, dtype=kind), ours(dtype=kind)
    case = name(DENSITY, batch, ", bfloat16")
    return compare(case, step(layer, batch, kind), DENSE, step(dense, batch, kind), 3)


def forwards(dense: nn.Linear) -> list[Row]:
    """Inference of one example, which is a reading of all weights."""
    layer = ours()
    case = name(DENSITY, 1, ", inference")
    return [
        compare(case, inference(layer), DENSE, inference(dense), 25),
        compare(case, inference(layer), "torch.sparse.mm of CSR", inference(Csr(layer)), 25),
    ]


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")  # CSR is "in beta state"
    if len(sys.argv) > 1:
        torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    plain = nn.Linear(WIDTH, WIDTH)
    emit(training(plain) + peers(plain) + [bfloat16()] + forwards(plain))
