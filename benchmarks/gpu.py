"""Filling one tensor on a GPU: against torch's own fills there, and against writing a constant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

import isoinit
from benchmarks.timing import Row, compare, emit
from isoinit._drawing.streams import Stream
from isoinit._writing.fill import fill_tensor
from isoinit.initializers.scale import fans

SHAPE = (16384, 16384)
CASES: list[tuple[isoinit.Initializer, str, Callable[[torch.Tensor], object]]] = [
    (isoinit.Normal(std=0.02), "normal_", partial(torch.nn.init.normal_, std=0.02)),
    (isoinit.Uniform(-0.1, 0.1), "uniform_", partial(torch.nn.init.uniform_, a=-0.1, b=0.1)),
    (
        isoinit.TruncatedNormal(std=0.02),
        "trunc_normal_",
        partial(torch.nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04),
    ),
]


def finished(call: Callable[[], object]) -> None:
    """A call, and the wait until the GPU is done."""
    call()
    torch.cuda.synchronize()


def rows() -> list[Row]:
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        tensor = torch.zeros(SHAPE, dtype=dtype, device="cuda")
        written = partial(finished, partial(tensor.fill_, 1.0))  # the bandwidth of writing
        for initializer, name, peer in CASES:
            stream, layout = Stream(0, "weight"), fans.linear(SHAPE)
            ours = partial(finished, partial(fill_tensor, tensor, initializer, layout, stream))
            kind = str(dtype).removeprefix("torch.")
            case = f"{type(initializer).__name__} {SHAPE[0]}², {kind}, on a GPU"
            theirs = partial(finished, partial(peer, tensor))
            found.append(compare(case, ours, f"torch.nn.init.{name}", theirs))
            found.append(compare(case, ours, "Tensor.fill_", written))
    return found


if __name__ == "__main__":
    emit(rows() if torch.cuda.is_available() else [])
