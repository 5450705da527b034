"""The moments of an example's tensors: what the size of the signal in a model starts from."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from isoinit._reading.graph import Given
from isoinit._reading.moments import moments
from isoinit._reading.torch.numbers import doubled, in_reals
from isoinit._system.private import FakeTensor


def moments_of(tensor: torch.Tensor, units: int | None = None) -> Given | None:
    """Return the moments of a tensor; None if it has no values here.

    Those of complex numbers are those of `in_reals`.

    Args:
        tensor: its first axis is that of the examples.
        units: the axis along which its units lie; by default the second one of an image, and the
            last one of any other tensor. The other axes are those of places.
    """
    if not tensor.numel() or tensor.is_meta or not tensor.dim():
        return None
    if isinstance(tensor, FakeTensor) or hasattr(tensor, "device_mesh"):
        return None
    if tensor.layout is not torch.strided:
        return _of_sparse(tensor)
    if units is None:
        units = 1 if tensor.dim() >= 4 else tensor.dim() - 1
    with torch.no_grad():
        values = doubled(in_reals(tensor.detach(), units))
        return moments(values, units, torch.moveaxis, partial(torch.std, correction=0))


def _of_sparse(tensor: torch.Tensor) -> Given | None:
    """Return the moments of a sparse tensor over all of its places, those without an element too."""
    with torch.no_grad():
        tensor = tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor
        values, places = doubled(tensor.values()), tensor.numel()
        mean, second = values.sum().item() / places, values.square().sum().item() / places
    return Given(mean, second, mean**2, mean**2) if np.isfinite(second) else None
