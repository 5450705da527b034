"""A sharded tensor (a DTensor) as plain ones: all of it, or this rank's part. Others as they are."""

from __future__ import annotations

import torch


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return all of a tensor: of a sharded one gathered, by every rank alike."""
    gathered: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return gathered


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a tensor."""
    return getattr(tensor, "_local_tensor", tensor)
