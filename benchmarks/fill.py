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

SIDE = 2048
ORTHOGONAL_SIDE = 1024  # it costs the cube of the side

Peer = Callable[[torch.Tensor], object]
CASES: list[tuple[isoinit.Initializer, str, Peer, int]] = [
    (isoinit.Normal(std=0.02), "normal_", partial(torch.nn.init.normal_, std=0.02), SIDE),
    (isoinit.Uniform(-0.1, 0.1), "uniform_", partial(torch.nn.init.uniform_, a=-0.1, b=0.1), SIDE),
    (
        isoinit.TruncatedNormal(std=0.02),
        "trunc_normal_",
        partial(torch.nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04),
        SIDE,
    ),
    (isoinit.Orthogonal(), "orthogonal_", torch.nn.init.orthogonal_, ORTHOGONAL_SIDE),
    (
        isoinit.Sparse(density=0.1),
        "sparse_",
        partial(torch.nn.init.sparse_, sparsity=0.9),
        SIDE,
    ),
]


def rows() -> list[Row]:
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        for initializer, name, peer, side in CASES:
            tensor = torch.zeros(side, side, dtype=dtype)
            layout = fans.linear(tensor.shape)
            ours = partial(fill_tensor, tensor, initializer, layout, Stream(0, "weight"))
            case = f"{type(initializer).__name__} {side}², {str(dtype).removeprefix('torch.')}"
            found.append(compare(case, ours, f"torch.nn.init.{name}", partial(peer, tensor)))
    return found


if __name__ == "__main__":
    emit(rows())
