"""A convolution's kernel that is stored in another order than torch takes it: (*taps, in, out)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from isoinit._reading import views
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout


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
    stack, within = views.grouped(first, groups)
    out, in_ = (second, within) if transposed else (within, second)
    channels = {"stack": stack, "out": out, "in_": in_}
    found = views.kernel(shape, channels, taps, stride, transposed=transposed)
    return stored(shape, groups, stride) if found is None else found


def in_order(parameter: torch.Tensor) -> torch.Tensor | None:
    """Return what lies in memory as a parameter's axes say; None for one that does so itself.

    A parameter may be a transposed view of its memory, or have its channels last.
    """
    return None if _is_in_order(parameter) else torch.empty(parameter.shape, device="meta")


def _is_in_order(laid: torch.Tensor) -> bool:
    """Whether the elements lie in memory as the axes say."""
    return laid.layout is not torch.strided or laid.is_contiguous()
