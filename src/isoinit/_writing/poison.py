"""Memory whose bits tell whether anything wrote to it."""

from __future__ import annotations

import torch

# Whole numbers as wide as an element, by its size in bytes.
WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Each byte of the poison. All bits set are a NaN in every type that torch trains, with a payload that
# neither a processor nor `torch.nan` makes; arithmetic on it gives NaN again.
NAN = 0xFF
# The same byte over and over is a number that arithmetic changes: 3.004 in float32, 32.5 in float64.
FINITE = 0x40


def poison(tensor: torch.Tensor, byte: int = NAN) -> None:
    """Fill a tensor's memory with one byte.

    Args:
        tensor: dense, of any strides; float, complex, integers or bool.
        byte: 0 to 255.

    Raises:
        RuntimeError: torch's own, for quantized and sparse tensors.

    Example:
        >>> x = torch.zeros(2)
        >>> poison(x)
        >>> x
        tensor([nan, nan])
    """
    words = bits(tensor)
    words.fill_(word(words.dtype, byte))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as integers, one an element (two of a complex number)."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.view(WORDS[tensor.element_size()])


def word(dtype: torch.dtype, byte: int) -> int:
    """The integer of a type whose bytes are all the same."""
    size = dtype.itemsize
    return int.from_bytes(bytes([byte]) * size, "little", signed=dtype.is_signed)
