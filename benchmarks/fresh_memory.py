"""16.8 million normals into memory that was never touched, against a constant written there."""

import torch

import isoinit
from benchmarks.timing import Row, compare, emit
from isoinit._drawing.streams import Stream
from isoinit._writing.fill import fill_tensor
from isoinit.initializers.scale import fans

SHAPE = (4096, 4096)


def ours() -> None:
    layout, stream = fans.linear(SHAPE), Stream(0, "weight")
    fill_tensor(torch.empty(SHAPE), isoinit.Normal(std=0.02), layout, stream)


def rows() -> list[Row]:
    case = "Normal 4096², float32, fresh memory"
    return [compare(case, ours, "torch.zeros().fill_(1.0)", lambda: torch.zeros(SHAPE).fill_(1.0))]


if __name__ == "__main__":
    emit(rows())
