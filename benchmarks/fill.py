"""Filling one tensor: each initializer against its peer in `torch.nn.init`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

import isoinit
from benchmarks.timing import Row, compare, emit
from isoinit.fill import fill_tensor
from isoinit.random import Stream
from isoinit.scale import fans

SQUARE = (2048, 2048)
EXPERTS = (64, 256, 256)


def each(peer: Callable[[torch.Tensor], object], stack: torch.Tensor) -> None:
    """A peer that knows one matrix, on a stack of them."""
    for matrix in stack:
        peer(matrix)


Peer = Callable[[torch.Tensor], object]
ORTHOGONAL: list[tuple[isoinit.Initializer, str, Peer, tuple[int, ...]]] = [
    (isoinit.Orthogonal(), "orthogonal_", torch.nn.init.orthogonal_, shape)
    for shape in ((512, 512), (1024, 1024), SQUARE, (4096, 1024))
]
CASES: list[tuple[isoinit.Initializer, str, Peer, tuple[int, ...]]] = [
    (isoinit.Normal(std=0.02), "normal_", partial(torch.nn.init.normal_, std=0.02), SQUARE),
    (
        isoinit.Uniform(-0.1, 0.1),
        "uniform_",
        partial(torch.nn.init.uniform_, a=-0.1, b=0.1),
        SQUARE,
    ),
    (
        isoinit.TruncatedNormal(std=0.02),
        "trunc_normal_",
        partial(torch.nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04),
        SQUARE,
    ),
    *ORTHOGONAL,
    (isoinit.Orthogonal(), "orthogonal_", partial(each, torch.nn.init.orthogonal_), EXPERTS),
    (
        isoinit.Sparse(density=0.1),
        "sparse_",
        partial(torch.nn.init.sparse_, sparsity=0.9),
        SQUARE,
    ),
]


def rows() -> list[Row]:
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        for initializer, name, peer, shape in CASES:
            tensor = torch.zeros(shape, dtype=dtype)
            stacked = (
                fans.contraction(shape, stack=[0], out=[1], in_=[2]) if len(shape) > 2 else None
            )
            layout = stacked or fans.linear(shape)
            ours = partial(fill_tensor, tensor, initializer, layout, Stream(0, "weight"))
            size = "×".join(map(str, shape)) if len(set(shape)) > 1 else f"{shape[0]}²"
            case = f"{type(initializer).__name__} {size}, {str(dtype).removeprefix('torch.')}"
            found.append(compare(case, ours, f"torch.nn.init.{name}", partial(peer, tensor)))
    return found


if __name__ == "__main__":
    emit(rows())
