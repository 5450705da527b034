"""What calls make of fake tensors, by the form of what they are given: torch is asked once for each.

A model is one block after another, and a call under the fake mode takes a tenth of a millisecond to
half of one, most of it to find out what is known from the block before.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch

from isoinit._reading.torch.fakes import called
from isoinit._system.private import (
    DisableTorchDispatch,
    FakeTensor,
    len_torch_dispatch_stack,
    len_torch_function_stack,
    storage_key,
)

# Functions that give tensors with memory of their own, views of their first argument or that itself,
# whose forms follow from those of what they are given.
PURE = frozenset(
    """linear matmul mm bmm addmm baddbmm add sub mul div neg pow sqrt rsqrt exp log tanh sigmoid relu
    gelu silu softmax layer_norm rms_norm mean cat sin cos erf conv1d conv2d conv3d
    scaled_dot_product_attention batch_norm group_norm embedding dropout sum abs where max_pool2d
    adaptive_avg_pool2d avg_pool2d leaky_relu elu softplus hardtanh hardswish hardsigmoid
    view reshape flatten unflatten transpose permute t T mT swapaxes movedim squeeze unsqueeze
    expand expand_as contiguous clone detach to type_as float double half bfloat16 view_as reshape_as
    getitem select narrow chunk split unbind""".split()
)
# Of the types of arguments, those whose equal values are of one type.
ONE_TYPE = frozenset(
    (str, type(None), type(...), torch.dtype, torch.device, torch.layout, torch.memory_format)
)
# Devices on which a view is made without a look at the memory, of which a fake tensor has none.
VIEWED = frozenset({"cpu", "cuda", "meta"})


class Signature(NamedTuple):
    """A call of fake tensors and plain data.

    Attributes:
        key: equal for calls of the same function with tensors of equal forms and equal data.
        tensors: the tensors, in the order of the arguments.
    """

    key: Hashable
    tensors: list[torch.Tensor]


class _Form(NamedTuple):
    """The form of a tensor: with its type, all that a fake one has.

    Attributes:
        shape, stride, dtype, device: its own.
        of: where among the tensors of the call that one stands whose memory it is on; -1 for none.
        offset: where in that memory it begins; -1 if it is that very tensor.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    of: int = -1
    offset: int = 0


class Forms:
    """Calls functions, and remembers the forms of what came of it."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[type, list[_Form]]] = {}

    def made(
        self,
        func: Any,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        signature: Signature | None,
    ) -> Any:
        """Return what a call gives.

        Args:
            func: the function.
            name: its plain name.
            args: its positional arguments.
            kwargs: its other arguments.
            signature: that of the call; None if it must be made, since it writes into an input, is
                watched from below, or is of other tensors.
        """
        if signature is None or name not in PURE:
            return called(func, name, args, kwargs)
        if (known := self._known.get(signature.key)) is None:
            made = called(func, name, args, kwargs)
            if (forms := _forms(made, signature.tensors)) is not None:
                self._known[signature.key] = type(made), forms
            return made
        kind, forms = known
        with DisableTorchDispatch():  # or the mode would make a twin of it
            found = [_shaped(form, signature.tensors) for form in forms]
        return found[0] if kind is FakeTensor else kind(found)


def signature(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Signature | None:
    """Return the signature of a call; None where other tensors or data take part, or other modes.

    Gradients, autocast and modes of the caller's may change what a function gives. So may the values
    of tensors whose values fake ones know, where all tensors of a call are such.
    """
    tensors: list[Any] = []
    try:
        given = tuple(_key(arg, tensors) for arg in args)
        named = tuple((name, _key(arg, tensors)) for name, arg in kwargs.items())
    except TypeError:
        return None
    if all(tensor.constant is not None for tensor in tensors):
        return None
    if torch.is_grad_enabled() or _is_cast(tensors[-1]):
        return None
    # Of the modes this one is left by now, and that of fake tensors is on.
    if len_torch_function_stack() or len_torch_dispatch_stack() != 1:
        return None
    return Signature((func, given, named, torch.get_default_dtype()), tensors)


def _key(value: Any, tensors: list[torch.Tensor]) -> Hashable:
    """Return what the result of a call depends on in an argument; its tensors are added to a list.

    Raises:
        TypeError: for a tensor of another kind, and for what is not known to stay as it is.
    """
    kind = type(value)
    if kind is FakeTensor:
        strange = value.is_conj() or value.is_neg()
        if strange or value.layout is not torch.strided or value.is_nested or value.is_quantized:
            raise TypeError("no plain fake tensor")
        tensors.append(value)
        own = value.shape, value.stride(), value.dtype, value.fake_device, value.requires_grad
        return (*own, value.storage_offset())
    if kind in ONE_TYPE:
        return value  # type: ignore[no-any-return]
    if kind is int or kind is bool:
        return kind, value
    if kind is float:
        return kind, value.hex()  # -0.0 is 0.0, and NaN is not NaN
    if kind is tuple or kind is list or kind is torch.Size:
        return kind, *[_key(item, tensors) for item in value]
    if kind is slice:
        return (
            kind,
            _key(value.start, tensors),
            _key(value.stop, tensors),
            _key(value.step, tensors),
        )
    raise TypeError(f"{kind.__name__} may change")


@cache
def _knows_autocast(kind: str) -> bool:
    return torch.amp.is_autocast_available(kind)


def _is_cast(tensor: torch.Tensor) -> bool:
    """Return whether autocast is on for the device of a tensor; the meta device knows none."""
    kind = tensor.device.type
    return _knows_autocast(kind) and torch.is_autocast_enabled(kind)


def _forms(made: Any, given: Sequence[torch.Tensor]) -> list[_Form] | None:
    """Return the forms of what a call gave; None where these do not tell all."""
    kind = type(made)
    found = [made] if kind is FakeTensor else made if kind in (tuple, list) else []
    plain = all(
        type(tensor) is FakeTensor
        and tensor.layout is torch.strided
        and tensor.constant is None
        and not (tensor.is_conj() or tensor.is_neg() or tensor.is_quantized or tensor.is_nested)
        for tensor in found
    )
    if not found or not plain or any(tensor.requires_grad for tensor in found):
        return None
    forms = [_form(tensor, given) for tensor in found]
    memories = [storage_key(tensor) for tensor in found]
    fresh = [memory for memory, form in zip(memories, forms, strict=True) if form.of < 0]
    known = all(form.of < 0 or form.device.type in VIEWED for form in forms)
    return forms if known and len(fresh) == len(set(fresh)) else None


def _form(tensor: Any, given: Sequence[torch.Tensor]) -> _Form:
    own = tensor.shape, tensor.stride(), tensor.dtype, tensor.fake_device
    memory = storage_key(tensor)
    for place, other in enumerate(given):
        if other is tensor:
            return _Form(*own, place, -1)
    for place, other in enumerate(given):
        if storage_key(other) == memory:
            return _Form(*own, place, tensor.storage_offset())
    return _Form(*own)


def _shaped(form: _Form, given: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return a fake tensor of a form, on the memory that it is to be on."""
    if form.offset < 0:
        return given[form.of]
    if form.of < 0:
        meta = torch.empty_strided(form.shape, form.stride, dtype=form.dtype, device="meta")
    else:
        meta = torch.as_strided(given[form.of], form.shape, form.stride, form.offset)
    mode: Any = given[0]
    return FakeTensor(mode.fake_mode, meta, form.device)
