"""Where the elements of tensors lie: whether two are one memory, meet in part, or lie apart."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from isoinit._drawing.spans import Span
from isoinit._reading.torch.fakes import is_fake
from isoinit._system.private import DisableTorchFunction, is_traceable_wrapper_subclass, storage_key

OWN = (nn.Parameter, torch.Tensor)  # not a subclass, whose memory may hold anything


def spans_of(tensor: torch.Tensor) -> tuple[Span, ...]:
    """Return where a tensor's elements lie: of a wrapper subclass, those of the tensors in it.

    Empty for a tensor without elements, and for one whose memory torch does not show (sparse, lazy).
    """
    with DisableTorchFunction():  # a mode may run what it has postponed when it is asked
        return tuple(_span(part) for part in _parts(tensor))


def address_of(tensor: torch.Tensor) -> int | None:
    """Return the address of a plain tensor; None of any other.

    Its memory is the processor's, and holds its values in order and nothing else.
    """
    if (
        type(tensor) in OWN
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not tensor.is_conj()
    ):
        return tensor.data_ptr()
    return None


def addresses_of(tensors: Iterable[torch.Tensor]) -> list[int | None]:
    """Return `address_of` each of several tensors."""
    with DisableTorchFunction():
        return [address_of(tensor) for tensor in tensors]


def lie_apart(addresses: Sequence[int | None], sizes: Sequence[int]) -> bool:
    """Return whether tensors are plain, and no two have a byte in common: most are, and it is fast.

    Given are what `address_of` gives, and the bytes of plain ones.
    """
    if None in addresses:
        return False
    starts = np.array(addresses, np.uint64)
    stops = starts + np.array(sizes, np.uint64)
    order = np.lexsort((stops, starts))
    return bool((stops[order][:-1] <= starts[order][1:]).all())


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
    return places_of([tensor])[0]


def places_of(tensors: Iterable[torch.Tensor]) -> list[int]:
    """Return `place_of` each of several tensors."""
    with DisableTorchFunction():  # entering it takes longer than all else here
        return [_place(tensor) for tensor in tensors]


def _place(tensor: torch.Tensor) -> int:
    if type(tensor) in OWN and tensor.layout is torch.strided and not tensor.is_nested:
        if (address := tensor.data_ptr()) or not tensor.is_meta:
            return address
        return storage_key(tensor)
    spans = spans_of(tensor)
    return hash(spans[:1]) if spans else 0


def meetings(
    tensors: Mapping[str, torch.Tensor], written: Container[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of tensors that have memory in common, in the order of their addresses.

    Bytes from the first to the last are compared first, in order of addresses; elements where those
    meet alone, so that the columns of one buffer are distinguished.

    Args:
        tensors: by name.
        written: those that are written: pairs of others do not matter. By default all.
    """
    addresses = addresses_of(tensors.values())
    plain = zip(tensors.values(), addresses, strict=True)
    if lie_apart(addresses, [tensor.nbytes for tensor, at in plain if at is not None]):
        return
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
        if own or is_fake(tensor):  # whose memory is what its class makes of it
            yield tensor


def _span(tensor: torch.Tensor) -> Span:
    item, shape = tensor.element_size(), tuple(tensor.shape)
    strides = tuple(stride * item for stride in tensor.stride())
    bare = tensor.is_meta or is_fake(tensor)
    space: Hashable = tensor.device
    if bare:
        space, start = storage_key(tensor), int(tensor.storage_offset()) * item
    else:
        start = tensor.data_ptr()
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    kind = tensor.dtype, tensor.is_conj(), tensor.is_neg()
    strides = tuple(s if n > 1 else 0 for n, s in zip(shape, strides, strict=True))
    return Span(space, start, start + last + item, shape, strides, item, kind)
