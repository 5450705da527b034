"""`Orthogonal` against `torch.nn.init.orthogonal_`, which knows no bfloat16 on a processor."""

import sys

import torch

import isoinit
from benchmarks.filling import filling
from benchmarks.timing import Row, emit

SHAPES = ((512, 512), (1024, 1024), (2048, 2048), (4096, 4096), (4096, 1024), (64, 256, 256))


def each(stack: torch.Tensor) -> None:
    """The peer knows one matrix at a time."""
    for matrix in stack if stack.ndim > 2 else [stack]:
        torch.nn.init.orthogonal_(matrix)


def rows() -> list[Row]:
    kind, found = (torch.float32,), []
    for shape in SHAPES[:2] if "quick" in sys.argv else SHAPES:
        repeats = 3 if shape == (4096, 4096) else 7
        found += filling(isoinit.Orthogonal(), "orthogonal_", each, shape, kind, repeats)
    return found


if __name__ == "__main__":
    emit(rows())
