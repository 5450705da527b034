"""Which tensors no initializer can fill, so that a plan leaves them and every verb lives with them."""

from __future__ import annotations

import torch
from torch.nn.parameter import UninitializedParameter

from isoinit._reading.torch.fakes import is_fake

# What initial values are drawn in. All else (integers, booleans, float8, quantized numbers) holds what
# the model's own code put there.
DRAWN = frozenset(
    {
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.complex64,
        torch.complex128,
    }
)


def why_not_drawn(tensor: torch.Tensor) -> str:
    """Return why no initializer can fill a tensor, in words; "" if one can.

    A lazy parameter has no shape yet: it is not left, it must get one first.

    Example:
        >>> import torch
        >>> why_not_drawn(torch.zeros(2, dtype=torch.int8)), why_not_drawn(torch.zeros(2))
        ('int8 is not drawn', '')
    """
    if isinstance(tensor, UninitializedParameter):
        return ""
    if tensor.dtype not in DRAWN:
        return f"{str(tensor.dtype).removeprefix('torch.')} is not drawn"
    if tensor.layout is not torch.strided:
        return f"a tensor stored as {tensor.layout} is not drawn"
    if is_computed(tensor):
        return f"a {type(tensor).__name__}, which computes its values, is not drawn"
    return ""


def is_computed(tensor: torch.Tensor) -> bool:
    """Return whether a tensor's class computes its values, so that its memory is none of them.

    Quantized and masked weights do. Fake tensors stand for plain ones, and of a DTensor each rank
    holds a plain part.
    """
    kind = type(tensor)
    if kind.__torch_dispatch__ is torch.Tensor.__torch_dispatch__:
        return False
    return not is_fake(tensor) and kind.__name__ != "DTensor"
