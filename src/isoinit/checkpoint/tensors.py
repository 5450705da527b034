"""What a checkpoint holds: tensors whose values are made when they are asked for, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit._planning.plan import Plan
from isoinit._reading.torch.memory import is_one_memory, place_of
from isoinit._reading.torch.names import named_modules, require_parameters
from isoinit._writing.assigning import follow
from isoinit._writing.entry import Entry
from isoinit._writing.fill import as_array, fill_tensor
from isoinit._writing.meta import buffer_values, kept_parameters
from isoinit._writing.postponed import as_constructed
from isoinit._writing.refusals import (
    left_on_meta,
    refuse_mismatch,
    refuse_unfillable,
    refuse_unready,
)
from isoinit._writing.sharing import refuse_shared
from isoinit.errors import IsoinitError, PlanError

Array = npt.NDArray[Any]
Reader = Callable[[Array, int], None]  # writes the elements from a place on into an array


class Kind(NamedTuple):
    """How a type is stored: as an array, in safetensors, and as torch's own storage; "" for not."""

    array: np.dtype[Any]
    code: str
    storage: str


KINDS = {
    torch.float64: Kind(np.dtype(np.float64), "F64", "DoubleStorage"),
    torch.float32: Kind(np.dtype(np.float32), "F32", "FloatStorage"),
    torch.float16: Kind(np.dtype(np.float16), "F16", "HalfStorage"),
    torch.bfloat16: Kind(np.dtype(np.uint16), "BF16", "BFloat16Storage"),  # as its bits
    torch.complex64: Kind(np.dtype(np.complex64), "C64", "ComplexFloatStorage"),
    torch.int64: Kind(np.dtype(np.int64), "I64", "LongStorage"),
    torch.int32: Kind(np.dtype(np.int32), "I32", "IntStorage"),
    torch.int16: Kind(np.dtype(np.int16), "I16", "ShortStorage"),
    torch.int8: Kind(np.dtype(np.int8), "I8", "CharStorage"),
    torch.uint8: Kind(np.dtype(np.uint8), "U8", "ByteStorage"),
    torch.bool: Kind(np.dtype(np.bool_), "BOOL", "BoolStorage"),
    torch.complex128: Kind(np.dtype(np.complex128), "", "ComplexDoubleStorage"),
    torch.uint64: Kind(np.dtype(np.uint64), "U64", ""),
    torch.uint32: Kind(np.dtype(np.uint32), "U32", ""),
    torch.uint16: Kind(np.dtype(np.uint16), "U16", ""),
    torch.float8_e4m3fn: Kind(np.dtype(np.uint8), "F8_E4M3", ""),  # as its bits
    torch.float8_e5m2: Kind(np.dtype(np.uint8), "F8_E5M2", ""),
}


@dataclass(frozen=True, eq=False)
class Stored:
    """One tensor.

    Attributes:
        name: its name, without wrappers.
        dtype: its type.
        shape: its shape.
        open: gives what reads its elements, in C order; that holds what making them takes.
        drawn: what decides its values, where a plan draws them; None for given values.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    open: Callable[[], Reader]
    drawn: Entry | None = None

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How much room it takes."""
        return self.size * self.dtype.itemsize

    @property
    def array(self) -> np.dtype[Any]:
        """The type of the arrays that it is read into."""
        return KINDS[self.dtype].array

    @property
    def kind(self) -> str:
        """The name of its type: "float32"."""
        return str(self.dtype).removeprefix("torch.")


def stored_tensors(plan: Plan, model: nn.Module, seed: int) -> tuple[list[Stored], dict[str, str]]:
    """What the model holds once the plan is applied: parameters, then buffers that are saved.

    Returns:
        The tensors, and for each further name of a tied one the name that it goes by.

    Raises:
        PlanError: if the plan does not fit the model, or something has no values to store.
    """
    parameters, aliases = require_parameters(model, "write")
    refuse_unready(parameters, now=False)
    refuse_mismatch(plan.entries, parameters)
    found = {**parameters, **_kept(plan, model, parameters)}
    filled = {n: e for n, e in plan.entries.items() if e.initializer is not None}
    refuse_unfillable({name: parameters[name] for name in filled}, now=False)
    modules = named_modules(model)
    followed = follow(modules, filled, seed)
    buffers, more = _saved_buffers(model, plan, followed.buffers, parameters, filled)
    if buffers:  # some of which a weight may depend on
        followed = follow(modules, filled, seed, buffers)
    tensors = [
        given(name, followed.parameters[name])
        if name in followed.parameters
        else drawn(filled[name], seed)
        if name in filled
        else kept(name, parameter, seed)
        for name, parameter in found.items()
    ]
    buffers |= {name: value for name, value in followed.buffers.items() if name in buffers}
    tensors += [given(name, buffer) for name, buffer in buffers.items()]
    return tensors, {**aliases, **more}


def drawn(entry: Entry, seed: int) -> Stored:
    """A parameter that has an initializer.

    Raises:
        PlanError: if the initializer does not fit it.
    """
    initializer, layout, stream = entry.initializer, entry.layout, Stream(seed, entry.key)
    dtype = getattr(torch, entry.dtype, None)
    assert initializer is not None
    if dtype not in KINDS:  # a plan may have been read from a file
        raise PlanError(
            f"nothing was written: {entry.name!r} has type {entry.dtype!r:.40}, which is not a "
            "known type"
        )
    try:
        law = entry.law
    except IsoinitError as error:
        raise PlanError(f"nothing was written: {entry.name!r}: {error}") from None

    def piece(out: Array, start: int) -> None:
        initializer.fill_piece(out, stream, layout, Piece.run(start, out.size))

    def whole() -> Reader:
        tensor = torch.empty(entry.shape, dtype=dtype, device="cpu")
        fill_tensor(tensor, initializer, layout, stream)
        return _reader(tensor)

    return Stored(entry.name, dtype, entry.shape, whole if law is None else lambda: piece, entry)


def kept(name: str, parameter: nn.Parameter, seed: int) -> Stored:
    """A parameter that a plan leaves as it was: its values, or what its constructor postponed.

    Raises:
        PlanError: if they are of a type that a checkpoint cannot hold.
    """
    _require_kind(f"parameter {name!r}", parameter.dtype)
    if parameter.layout is not torch.strided:
        raise PlanError(
            f"nothing was written: parameter {name!r} is stored as {parameter.layout}; a "
            "checkpoint holds only dense tensors. Make the parameter dense, or keep it outside "
            "the model"
        )

    def constructed() -> Reader:
        return _reader(as_constructed(parameter, Stream(seed, name)))

    return Stored(name, parameter.dtype, tuple(parameter.shape), constructed)


def given(name: str, tensor: torch.Tensor) -> Stored:
    """A tensor that has its values.

    Raises:
        PlanError: if they are of a type that a checkpoint cannot hold.
    """
    _require_kind(f"buffer {name!r}", tensor.dtype, ", or register it with persistent=False")
    return Stored(name, tensor.dtype, tuple(tensor.shape), lambda: _reader(tensor))


def _require_kind(what: str, dtype: torch.dtype, advice: str = "") -> None:
    if dtype not in KINDS:
        raise PlanError(
            f"nothing was written: {what} is {dtype}; expected one of "
            f"{', '.join(str(kind).removeprefix('torch.') for kind in KINDS)}: cast it{advice}"
        )


def _reader(tensor: torch.Tensor) -> Reader:
    values = as_array(tensor.detach().cpu().contiguous())

    def copy(out: Array, start: int) -> None:
        out[:] = values[start : start + out.size]

    return copy


def _saved_buffers(
    model: nn.Module,
    plan: Plan,
    known: Mapping[str, torch.Tensor],
    parameters: Mapping[str, nn.Parameter],
    filled: Container[str],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The buffers that a state dict holds, once each, and their other names.

    A buffer over the memory of a parameter holds what that is filled with: it is the same tensor.

    Raises:
        PlanError: if a parameter that is filled lies in part where another tensor does.
    """
    places = {place_of(p): (name, p) for name, p in parameters.items() if name in filled}
    names: dict[int, str] = {}
    buffers: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    for name, buffer in _persistent(model):
        if id(buffer) in names:
            aliases[name] = names[id(buffer)]
        elif (found := places.get(place_of(buffer))) and is_one_memory(buffer, found[1]):
            aliases[name] = found[0]
        else:
            names[id(buffer)] = name
            buffers[name] = buffer
    refuse_shared({**parameters, **buffers}, filled, done="written")
    return _with_values(model, buffers, plan, known), aliases


def _persistent(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for prefix, module in named_modules(model):
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                yield prefix + name, buffer


def _with_values(
    model: nn.Module,
    buffers: dict[str, torch.Tensor],
    plan: Plan,
    known: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """The buffers with their true values.

    Raises:
        PlanError: if one on the meta device gets none from the model's own initialization.
    """
    if not any(buffer.is_meta for buffer in buffers.values()):
        return buffers
    values = buffer_values(
        named_modules(model), list(model.parameters()), True, plan.emptied, known
    )
    values = {**values, **known}
    return {name: values.get(name, buffer) for name, buffer in buffers.items()}


def _kept(
    plan: Plan, model: nn.Module, parameters: dict[str, nn.Parameter]
) -> dict[str, nn.Parameter]:
    """What holds the values of parameters on the meta device that the plan leaves as they were.

    Raises:
        PlanError: if there are none for one of them, or one is sharded.
    """
    empty = [n for n, p in parameters.items() if p.is_meta and plan.entries[n].initializer is None]
    values = kept_parameters(model, empty, True)
    missing = {name: parameters[name] for name in empty if name not in values}
    if fault := left_on_meta(plan.entries, missing):
        raise PlanError(f"nothing was written: {fault}")
    left = {name: p for name, p in parameters.items() if plan.entries[name].initializer is None}
    if sharded := [name for name, p in left.items() if type(p).__name__ == "DTensor"]:
        raise PlanError(
            f"nothing was written: parameters {', '.join(map(repr, sharded))} are sharded, and "
            "the plan leaves them unchanged. Give them initializers, or write the checkpoint "
            "before sharding"
        )
    return values
