"""Tensors of any kind of number as tensors of real ones, whose sizes can be measured."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from isoinit._system.private import unset_fake_temporarily


def in_reals(tensor: torch.Tensor, axis: int = -1) -> torch.Tensor:
    """Return a tensor as floating-point numbers of the same root mean square; real ones as they are.

    Of complex numbers z the real and the imaginary parts, times sqrt(2), stand one behind the other
    along an axis: their mean square is that of |z|, and the mean product of two examples that of
    Re(z conj(z')). Integers and quantized numbers become float64; what is sparse or nested becomes
    dense, the places without an element zero.

    Args:
        tensor: of any type and layout, with values here.
        axis: where complex numbers become twice as many.

    Example:
        >>> import torch
        >>> in_reals(torch.tensor([3 + 4j])).square().mean().sqrt().item()
        5.0
    """
    if tensor.is_quantized:
        return doubled(tensor.dequantize())
    if tensor.is_nested:
        tensor = torch.nested.to_padded_tensor(tensor, 0.0)
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        parts = [tensor.real, tensor.imag]
        whole = torch.cat(parts, axis) if tensor.dim() else torch.stack(parts)
        return whole * math.sqrt(2)
    if tensor.is_floating_point() and tensor.dtype.itemsize > 1:
        return tensor
    return doubled(tensor)


def doubled(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float64: on its device, or on the processor where the device has no float64.

    Apple's GPUs (device "mps") and some of Intel's have none, and torch raises TypeError there.

    Args:
        tensor: of any type.
    """
    return where_doubles_are(tensor).double()


def where_doubles_are(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor as it is, or on the processor if its device has no float64."""
    return tensor if _has_doubles(tensor.device) else tensor.cpu()


@lru_cache
def _has_doubles(device: torch.device) -> bool:
    if device.type in ("cpu", "cuda", "meta"):
        return True
    try:
        with unset_fake_temporarily():
            torch.empty(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return the shape of a tensor as numbers: of a nested one that of its longest rows."""
    if not tensor.is_nested:
        return tuple(tensor.shape)
    if tensor.is_meta:  # whose rows have no lengths
        return tuple(tensor.values().shape)
    parts = tensor.unbind()
    return (len(parts), *(max(sizes) for sizes in zip(*(p.shape for p in parts), strict=True)))


def rows_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows of a nested tensor one behind the other; other tensors as they are."""
    return torch.cat(tensor.unbind()) if tensor.is_nested else tensor


def stored(tensor: torch.Tensor) -> torch.Tensor | None:
    """Return the numbers that a tensor holds in memory, of a type that torch can ask for NaN.

    Args:
        tensor: of any type and layout, with values here. Of a sparse one its elements are stored.

    Returns:
        Floating-point or complex numbers; None for types that hold neither NaN nor infinity.

    Example:
        >>> import torch
        >>> stored(torch.eye(3).to_sparse()).tolist(), stored(torch.arange(3))
        ([1.0, 1.0, 1.0], None)
    """
    if tensor.is_quantized or not (tensor.is_floating_point() or tensor.is_complex()):
        return None
    tensor = tensor.detach()
    if tensor.is_nested:
        return rows_of(tensor)
    if tensor.layout is torch.sparse_coo:
        tensor = tensor._values()
    elif tensor.layout is not torch.strided:
        tensor = tensor.values()
    return tensor.float() if tensor.dtype.itemsize == 1 else tensor


def is_finite(tensor: torch.Tensor) -> bool:
    """Return whether no number that a tensor holds is a NaN or an infinity."""
    numbers = stored(tensor)
    if numbers is None or not numbers.numel():
        return True
    if numbers.is_complex():
        return bool(numbers.isfinite().all())
    ends = torch.aminmax(numbers)  # both are NaN where any is; one pass, with no tensor between
    return all(math.isfinite(end.item()) for end in ends)
