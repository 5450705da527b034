"""What stands for the tensors of a recorded call, and calls as what can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from isoinit._system.private import unset_fake_temporarily


@dataclass(frozen=True)
class Input:
    """Stands for an input in a recorded call."""

    position: int


@dataclass(frozen=True)
class Table:
    """Stands for a constant tensor of several values."""

    position: int


@dataclass(frozen=True)
class Number:
    """Stands for a constant tensor of one value.

    Attributes:
        value: the value, without axes.
        axes: whether the constant had axes.
        like: the position of an input of the same shape, if there is one.
    """

    value: torch.Tensor
    axes: bool
    like: int | None


PLAIN = (
    bool, int, str, type(...), torch.dtype, torch.device, torch.layout, torch.memory_format,
    Input, Table,
)  # fmt: skip


def plain_data(value: Any) -> Any:
    """Return arguments as what can be hashed; equal for equal ones of equal types.

    Raises:
        TypeError: if they hold what is not known to stay as it is.
    """
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(plain_data, value))
    if isinstance(value, Mapping):
        return "mapping", tuple((key, plain_data(item)) for key, item in value.items())
    if isinstance(value, Number):
        number = value.value
        with unset_fake_temporarily():
            return Number, str(number.item()), number.dtype, value.axes, value.like
    if isinstance(value, slice):
        return slice, plain_data((value.start, value.stop, value.step))
    if isinstance(value, float):
        return float, value.hex()  # -0.0 is 0.0, and NaN is not NaN
    if value is None or type(value) in PLAIN:
        return type(value), value
    raise TypeError(f"{type(value).__name__} may change")
