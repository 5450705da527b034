"""The bytes that the elements of a tensor take: whether two tensors, or two elements, meet in one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np

_WORK = 1_000_000  # candidates that NumPy tries for a pair before it counts as meeting


class Span(NamedTuple):
    """The memory of one tensor.

    Attributes:
        space: what addresses count in: a device, or the storage of a tensor that has no memory.
        start: the address of the first byte.
        stop: that behind the last.
        shape: the tensor's.
        strides: the same in bytes.
        item: the bytes of an element.
        kind: how its bytes are read: the type, and whether they are conjugated or negated.
    """

    space: Hashable
    start: int
    stop: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    item: int
    kind: Hashable

    @property
    def meets_itself(self) -> bool:
        """Whether two elements lie in one place, as those of an expanded tensor do.

        Two elements that differ first in an axis meet exactly if the first row of that axis meets
        the others, whatever the axes before it are at.
        """
        axes = sorted(zip(self.strides, self.shape, strict=True))
        below = self.item
        for stride, size in axes:  # in order of strides: each axis steps over all below it
            if size > 1 and stride < below:
                break
            below += (size - 1) * stride
        else:
            return False
        for axis, (stride, size) in enumerate(zip(self.strides, self.shape, strict=True)):
            rest = self.strides[axis + 1 :], self.shape[axis + 1 :]
            one = _array(self.start, rest[1], rest[0], self.item)
            others = _array(
                self.start + stride, (size - 1, *rest[1]), (stride, *rest[0]), self.item
            )
            if size > 1 and _share(one, others):
                return True
        return False

    def meets(self, other: Span) -> bool:
        """Whether they have a byte in common; yes where that is too hard to tell."""
        if self.space != other.space or self.stop <= other.start or other.stop <= self.start:
            return False
        arrays = [_array(s.start, s.shape, s.strides, s.item) for s in (self, other)]
        return _share(*arrays)


def span_of(array: np.ndarray[Any, Any]) -> Span:
    """Return where the elements of an array of NumPy lie, none of whose strides is negative."""
    strides = tuple(s if n > 1 else 0 for n, s in zip(array.shape, array.strides, strict=True))
    start = int(array.ctypes.data)
    last = sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True))
    item = array.itemsize
    return Span("numpy", start, start + last + item, array.shape, strides, item, array.dtype)


class _Addresses:
    """Stands for an array at an address, which nothing reads."""

    def __init__(self, start: int, shape: tuple[int, ...], strides: tuple[int, ...], item: int):
        self.__array_interface__ = {
            "version": 3,
            "data": (start, False),
            "shape": shape,
            "strides": strides,
            "typestr": f"|V{item}",
        }


def _array(
    start: int, shape: tuple[int, ...], strides: tuple[int, ...], item: int
) -> np.ndarray[Any, Any]:
    return np.asarray(_Addresses(start + 4096, shape, strides, item))


def _share(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    try:
        return np.shares_memory(left, right, max_work=_WORK)  # type: ignore[arg-type]  # any number
    except np.exceptions.TooHardError:
        return True
