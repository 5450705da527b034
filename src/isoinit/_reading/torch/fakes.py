"""Fake tensors: shapes without memory, and where they behave differently from real ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch.calls import is_float
from isoinit._system.private import FakeTensor, FakeTensorMode
from isoinit.errors import TraceError

# A loop that waits for data to converge may never end on an example, and fake tensors have none. A
# transformer of 1,000 layers makes about 70,000 calls.
MOST_CALLS = 300_000
MULTIPLY = frozenset("linear conv1d conv2d conv3d matmul mm bmm addmm baddbmm".split())


def as_fake(mode: FakeTensorMode, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what makes a fake twin of a tensor: on `device` if the tensor is on the meta device.

    What is sparse, nested or quantized stays: the mode makes its twins itself, where it can.
    """

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
            return tensor
        where = device if tensor.is_meta else tensor.device
        form = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        # What the mode makes of a call, in a tenth of the time.
        shadow = FakeTensor(mode, form, where)
        if isinstance(tensor, nn.Parameter):
            shadow.requires_grad_(tensor.requires_grad)
            shadow._is_param = True  # as nn.Parameter has it for tensors of other classes
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


FAKE = "is a fake tensor and has no memory. Build the model outside FakeTensorMode"


def is_fake(tensor: torch.Tensor) -> bool:
    """Return whether a tensor stands for one that is not there."""
    return isinstance(tensor, FakeTensor)


def refuse_endless(calls: int) -> None:
    """Raise a `TraceError` once a forward has made so many calls that it may never end."""
    if calls > MOST_CALLS:
        raise TraceError(
            f"it made more than {MOST_CALLS:,} torch calls: a loop that does not end, or one "
            "that ends only for other data; pass an example on which it ends soon"
        )


def refuse_mixed_types(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise as a product of real tensors of two dtypes does: that of fake ones does not."""
    if name not in MULTIPLY:
        return
    floats = [a for a in (*args, *kwargs.values()) if is_float(a)]
    types = {a.dtype for a in floats}
    if len(types) < 2 or not any(isinstance(a, FakeTensor) for a in floats):
        return
    if not is_cast(floats[0].device.type):
        raise RuntimeError(f"{name} of {' and '.join(sorted(map(str, types)))}")


def is_cast(kind: str) -> bool:
    """Return whether autocast is on for a kind of device; the meta device knows none."""
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def called(func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what a call gives.

    Of fake tensors `grouped_mm` has a kernel for bfloat16 alone: the shapes are the same.

    Raises:
        RuntimeError: for a product of two dtypes; whatever the function raises.
    """
    refuse_mixed_types(name, args, kwargs)
    if name != "grouped_mm" or not args or not isinstance(args[0], FakeTensor):
        return func(*args, **kwargs)
    halves = [a.bfloat16() if is_float(a) else a for a in args]
    other = {key: a.bfloat16() if is_float(a) else a for key, a in kwargs.items()}
    return func(*halves, **other).to(args[0].dtype)
