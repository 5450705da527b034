"""Fake tensors: shapes without memory, and where they behave differently from real ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from isoinit._reading.torch.calls import is_float

MULTIPLY = frozenset("linear conv1d conv2d conv3d matmul mm bmm addmm baddbmm".split())


def as_fake(mode: FakeTensorMode, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what makes a fake twin of a tensor: on `device` if the tensor is on the meta device."""

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        where = device if tensor.is_meta else tensor.device
        with mode:
            shadow = torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device=where
            )
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(shadow, requires_grad=tensor.requires_grad)
        return shadow

    return fake


@contextmanager
def quiet_fakes() -> Iterator[None]:
    """Silence the traceback that fake tensors log at each failure: here failures are handled."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def refuse_mixed_types(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise as a product of real tensors of two dtypes does: that of fake ones does not."""
    if name not in MULTIPLY:
        return
    floats = [a for a in (*args, *kwargs.values()) if is_float(a)]
    types = {a.dtype for a in floats}
    if len(types) < 2 or not any(isinstance(a, FakeTensor) for a in floats):
        return
    if not torch.is_autocast_enabled(floats[0].device.type):
        raise RuntimeError(f"{name} of {' and '.join(sorted(map(str, types)))}")


def fake_grouped_mm(func: Any, args: Sequence[Any], kwargs: Any) -> torch.Tensor:
    """Run `grouped_mm` in bfloat16, the only dtype of its fake kernel; shapes are the same."""
    halves = [a.bfloat16() if is_float(a) else a for a in args]
    other = {key: a.bfloat16() if is_float(a) else a for key, a in kwargs.items()}
    result: torch.Tensor = func(*halves, **other)
    return result.to(args[0].dtype)
