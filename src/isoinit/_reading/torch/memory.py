"""Where the elements of tensors lie: whether two are one memory, meet in part, or lie apart."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

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


def spans_of(tensor: torch.Tensor) -> tuple[Span, ...]:
    """Return where a tensor's elements lie: of a wrapper subclass, those of the tensors in it.

    None for a tensor without elements, and for one whose memory torch does not show (sparse, lazy).
    """
    with torch._C.DisableTorchFunction():  # a mode may run what it has postponed when it is asked
        return tuple(_span(part) for part in _parts(tensor))


def is_one_memory(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Return whether two tensors are the same elements in the same places, of the same type."""
    if left.shape != right.shape:
        return False
    kinds = {type(one) for one in (left, right)}
    if len(kinds) > 1 and any(hasattr(kind, "__tensor_flatten__") for kind in kinds):
        return False  # other views of the tensors inside
    spans = spans_of(left)
    return bool(spans) and spans == spans_of(right)


def place_of(tensor: torch.Tensor) -> int:
    """Return a number that is equal for tensors of one memory; 0 where there is none.

    Others may have it too: it is what can be told fast.
    """
    if type(tensor) in (nn.Parameter, torch.Tensor):
        with torch._C.DisableTorchFunction():
            if tensor.layout is torch.strided and not tensor.is_nested:
                if (address := tensor.data_ptr()) or not tensor.is_meta:
                    return address
                return int(tensor.untyped_storage()._cdata)
    spans = spans_of(tensor)
    return hash(spans[:1]) if spans else 0


def meetings(
    tensors: Mapping[str, torch.Tensor], written: Container[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of tensors that have memory in common, in the order of their addresses.

    Bytes from the first to the last are compared first, in order of addresses; elements where those
    meet alone, so that the columns of one buffer are told apart.

    Args:
        tensors: by name.
        written: those that are written: pairs of others do not matter. By default all.
    """
    spaces: dict[Hashable, list[tuple[Span, str]]] = {}
    for name, tensor in tensors.items():
        for span in spans_of(tensor):
            spaces.setdefault(span.space, []).append((span, name))
    for found in spaces.values():
        near: list[tuple[Span, str]] = []
        for span, name in sorted(found, key=lambda one: one[0].start):
            near = [one for one in near if one[0].stop > span.start]
            for other, before in near:
                matters = written is None or name in written or before in written
                if matters and name != before and span.meets(other):
                    yield before, name
            near.append((span, name))


def _parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors that hold a tensor's elements."""
    if is_lazy(tensor):
        return
    wrapper: Any = tensor
    if is_traceable_wrapper_subclass(wrapper):
        for name in wrapper.__tensor_flatten__()[0]:
            part = getattr(wrapper, name)
            if isinstance(part, torch.Tensor):  # a DTensor names its mesh too
                yield from _parts(part)
    elif tensor.layout is torch.strided and not tensor.is_nested and tensor.numel():
        own = type(tensor).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
        if own or isinstance(tensor, FakeTensor):  # whose memory is what its class makes of it
            yield tensor


def _span(tensor: torch.Tensor) -> Span:
    item, shape = tensor.element_size(), tuple(tensor.shape)
    strides = tuple(stride * item for stride in tensor.stride())
    bare = tensor.is_meta or isinstance(tensor, FakeTensor)
    space: Hashable = tensor.device
    if bare:
        space, start = tensor.untyped_storage()._cdata, int(tensor.storage_offset()) * item
    else:
        start = tensor.data_ptr()
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    kind = tensor.dtype, tensor.is_conj(), tensor.is_neg()
    strides = tuple(s if n > 1 else 0 for n, s in zip(shape, strides, strict=True))
    return Span(space, start, start + last + item, shape, strides, item, kind)


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
