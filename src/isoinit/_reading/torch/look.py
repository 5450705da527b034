"""What the values of a tensor say: `isoinit._reading.values` for tensors of any type and place."""

from __future__ import annotations

import torch

from isoinit._reading.values import Values, look

NATIVE = (torch.float32, torch.float64)  # types that NumPy has, and that tell random numbers apart
LARGE = 1 << 22  # elements of a tensor, above which some of its rows are copied to be looked at
SOME = 1 << 20  # elements of these


def look_at(tensor: torch.Tensor) -> Values:
    """Return what the values of a tensor say.

    Args:
        tensor: dense, of floating-point or complex numbers, with values on this process.

    Example:
        >>> import torch
        >>> look_at(torch.full((2, 3), 0.5)).said
        '0.5 in every element'
    """
    tensor = tensor.detach()
    if tensor.is_complex():
        return _both(look_at(tensor.real), look_at(tensor.imag))
    exact = tensor.dtype in NATIVE
    here = tensor.device.type == "cpu" and exact and tensor.is_contiguous()
    if tensor.numel() > LARGE and tensor.dim() and not here:
        rows = max(1, SOME * len(tensor) // tensor.numel() // 3)
        middle = len(tensor) // 2
        some = (tensor[:rows], tensor[middle : middle + rows], tensor[-rows:])
        tensor = torch.cat(some) if len(tensor) > 3 * rows else tensor
    return look(
        tensor.to("cpu", tensor.dtype if exact else torch.float32).resolve_neg().numpy(),
        exact=exact,
    )


def _both(real: Values, imaginary: Values) -> Values:
    """Return what complex numbers say, whose parts say this."""
    if imaginary.kind == "constant" and not imaginary.mean:
        return real
    if real.kind == imaginary.kind == "random":
        return Values("random", real.said, 0.0, real.second + imaginary.second)
    said = f"as real parts {real.said}, and as imaginary parts {imaginary.said}"
    return Values("structured", said, 0.0, real.second + imaginary.second)
