"""One tensor filled by an initializer, against its peer in `torch.nn.init`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch

import isoinit
from benchmarks.timing import Row, compare
from isoinit._drawing.streams import Stream
from isoinit._writing.fill import fill_tensor
from isoinit.initializers.scale import fans

Peer = Callable[[torch.Tensor], object]
BOTH = (torch.float32, torch.bfloat16)


def filling(
    initializer: isoinit.Initializer,
    name: str,
    peer: Peer,
    shape: tuple[int, ...],
    dtypes: Iterable[torch.dtype] = BOTH,
    repeats: int = 7,
) -> list[Row]:
    """A row for each type; a third axis, the first, is a stack of matrices."""
    stacked = fans.contraction(shape, stack=[0], out=[1], in_=[2]) if len(shape) > 2 else None
    size = "×".join(map(str, shape)) if len(set(shape)) > 1 else f"{shape[0]}²"
    found = []
    for dtype in dtypes:
        tensor, layout = torch.zeros(shape, dtype=dtype), stacked or fans.linear(shape)
        ours = partial(fill_tensor, tensor, initializer, layout, Stream(0, "weight"))
        case = f"{type(initializer).__name__} {size}, {str(dtype).removeprefix('torch.')}"
        theirs = partial(peer, tensor)
        found.append(compare(case, ours, f"torch.nn.init.{name}", theirs, repeats))
    return found
