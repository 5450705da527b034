"""The moments of an example's tensors: what the size of the signal in a model starts from."""

from __future__ import annotations

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from isoinit._reading.graph import Given


def moments_of(tensor: torch.Tensor) -> Given | None:
    """Return the moments of a tensor of real numbers; None if it has no values here."""
    if tensor.is_complex() or not tensor.numel() or tensor.is_meta or not tensor.dim():
        return None
    if isinstance(tensor, FakeTensor) or hasattr(tensor, "device_mesh"):
        return None
    with torch.no_grad():
        values = tensor.detach().double()
        mean, second = values.mean().item(), values.square().mean().item()
        if not np.isfinite(second):
            return None
        between = tuple(range(1, values.dim() - 1)) or None
        if values.dim() >= 4:  # images: channels first
            between = tuple(range(2, values.dim()))
        places = 1 if between is None else int(np.prod([values.shape[axis] for axis in between]))
        nearby = second if between is None else values.mean(between).square().mean().item()
        across = values.mean(0).square().mean().item()
    return Given(
        mean, second, _pairs(nearby, second, places), _pairs(across, second, values.shape[0])
    )


def _pairs(of_mean: float, second: float, count: int) -> float:
    """The mean product of two different elements, from the mean square of the mean of all."""
    return second if count < 2 else (count * of_mean - second) / (count - 1)
