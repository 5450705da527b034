"""A convolution's kernel that is stored in another order than torch takes it: (*taps, in, out)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

Part = tuple[int, int]  # of one thing that an axis counts: how many, and the step in memory


def kernel(
    shape: tuple[int, ...],
    laid: torch.Tensor,
    groups: int,
    stride: int | Sequence[int],
    *,
    transposed: bool,
) -> Layout:
    """Return the layout of a parameter that a convolution takes as a view of it.

    Args:
        shape: the parameter's own.
        laid: the view, (out, in/groups, *taps) or, transposed, (in, out/groups, *taps), with its
            steps in the parameter's memory.
        groups: into how many groups the channels are parted.
        stride: that of the convolution.
        transposed: whether it is transposed.
    """
    stored = fans.conv_transpose if transposed else fans.conv
    if tuple(laid.shape) == shape and _is_in_order(laid):
        return stored(shape, groups, stride)
    first, second, *taps = zip(laid.shape, laid.stride(), strict=True)
    within = first[0] // groups
    parts = [(groups, first[1] * within), (within, first[1]), second, *taps]
    if (pulled := _pulled_apart(math.prod(shape), parts)) is None:
        return stored(tuple(laid.shape), groups, stride)
    grid, places = pulled
    roles = ("stack", "in_", "out") if transposed else ("stack", "out", "in_")
    axes = dict(zip(roles, places, strict=False))
    found = tuple(axis for place in places[3:] for axis in place)
    return fans.kernel(shape, grid, taps=found, stride=stride, transposed=transposed, **axes)


def in_order(parameter: torch.Tensor) -> torch.Tensor | None:
    """Return what lies in memory as a parameter's axes say; None for one that does so itself.

    A parameter may be a transposed view of its memory, or have its channels last.
    """
    return None if _is_in_order(parameter) else torch.empty(parameter.shape, device="meta")


def _is_in_order(laid: torch.Tensor) -> bool:
    """Whether the elements lie in memory as the axes say."""
    return laid.layout is not torch.strided or laid.is_contiguous()


def _pulled_apart(
    count: int, parts: Sequence[Part]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]] | None:
    """Return a grid of a parameter's elements, and the axis of it that each part runs along.

    None where the parts do not cover each element once.
    """
    order = sorted(
        (at for at, (size, _) in enumerate(parts) if size > 1), key=lambda at: -parts[at][1]
    )
    ends = [count, *(parts[at][1] for at in order)]
    sizes = [parts[at][0] for at in order]
    if ends[-1] != 1 or any(a != b * n for (a, b), n in zip(pairwise(ends), sizes, strict=True)):
        return None
    single = [at for at, (size, _) in enumerate(parts) if size == 1]
    order += single  # axes of one element, behind the others
    return tuple(parts[at][0] for at in order), [(order.index(at),) for at in range(len(parts))]
