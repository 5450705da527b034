"""Models from the meta device: memory for their tensors, and true values for their buffers.

`to_empty` gives a buffer memory and no values, and nothing tells that from a buffer that holds some.
So a plan that was made on the meta device remembers which buffers of its model had none. A plan
fills parameters; buffers (rotary frequencies, running statistics) get what the model's own
initialization writes into them, which is run on memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from isoinit._reading.torch.isolate import untouched
from isoinit._reading.torch.names import (
    Modules,
    buffers_of,
    first_objects,
    named_buffers,
    named_parameters,
)
from isoinit._system.signals import call_user
from isoinit._writing.deferred import deferred, is_deferring
from isoinit._writing.own_init import forget_marks, own_calls
from isoinit._writing.placements import held, write_part
from isoinit._writing.poison import NAN, bits, poison, word
from isoinit._writing.postponed import postpone, writes_left
from isoinit.errors import PlanError

Buffers = bool | Callable[[], nn.Module]

Emptied = Mapping[nn.Module, Collection[str]]


class EmptyBuffers(WeakKeyDictionary[nn.Module, set[str]]):
    """The modules of a model, each with the names of its buffers that have no values.

    A copy in another process knows of none: its modules are others.
    """

    def __reduce__(self) -> tuple[type[EmptyBuffers], tuple[()]]:
        return EmptyBuffers, ()


def empty_buffers(model: nn.Module) -> EmptyBuffers:
    """Return which buffers of a model are on the meta device."""
    found = EmptyBuffers()
    for module in model.modules():
        if names := {n for n, b in module._buffers.items() if b is not None and b.is_meta}:
            found[module] = names
    return found


def buffer_values(
    modules: Modules,
    parameters: Iterable[torch.Tensor],
    buffers: Buffers,
    emptied: Emptied,
    known: Collection[str] = (),
) -> dict[str, torch.Tensor]:
    """The values of the buffers that came without, by name; the model is left as it was.

    Args:
        modules: `named_modules` of the model, on any device, meta too.
        parameters: its parameters, or this rank's part of them.
        buffers: as for `Plan.apply`.
        emptied: which buffers of its modules had no values when the plan was made.
        known: the names of buffers whose values come from elsewhere.

    Raises:
        PlanError: if a buffer has no values for certain and none can be found.
    """
    if buffers is False or is_deferring():
        return {}
    _, model = modules[0]
    named, _ = buffers_of(modules.buffered)
    if callable(buffers):
        return _built(buffers, named)
    lost = _lost(modules.buffered, emptied).difference(known)
    if not lost and not (named and _came_empty(parameters)):
        return {}
    own = _own_values(model)
    values = own.buffers
    if left := [name for name in named if name in lost and name not in values]:
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        raise PlanError(
            f"nothing was changed: buffer {left[0]!r}{more} came from the meta device without "
            f"values, and the model's own initialization does not set it{own.why}. Only its "
            "constructor computes it. Pass a function that builds the model again, apply(model, "
            "buffers=build), or set the buffer yourself and pass buffers=False"
        )
    return values


def kept_parameters(
    model: nn.Module, names: Collection[str], buffers: Buffers
) -> dict[str, nn.Parameter]:
    """What holds the values of parameters without that a plan keeps, as far as they can be found.

    They are what the model's own initialization gives them; `as_constructed` draws what is random.

    Args:
        model: on the meta device, or parts of it are; left as it was.
        names: which parameters.
        buffers: as for `Plan.apply`: a function that builds the model anew tells parameters too.

    Raises:
        PlanError: if the function builds another model.
    """
    if not names or buffers is False or is_deferring():
        return {}
    if callable(buffers):
        known, aliases = named_parameters(_anew(buffers))
        shapes = {n: tuple(p.shape) for n, p in named_parameters(model)[0].items() if n in names}
        known |= {name: known[of] for name, of in aliases.items()}
        _refuse_another(shapes, known, "parameter")
    else:
        known = _own_values(model).parameters
    return {name: known[name] for name in names if name in known and _is_written(known[name])}


def give_memory(model: nn.Module, but: Iterable[torch.Tensor] = ()) -> None:
    """Give the parameters on the meta device memory that is not written yet; tied ones stay tied.

    Args:
        model: changed in place.
        but: parameters that stay there.
    """
    made: dict[int, nn.Parameter] = {id(parameter): parameter for parameter in but}  # type: ignore[misc]
    firsts = first_objects(model)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                parameter = firsts[id(parameter)]
                if id(parameter) not in made:
                    memory = torch.empty_like(parameter, device=_home(parameter, module))
                    made[id(parameter)] = nn.Parameter(memory, parameter.requires_grad)
                    vars(made[id(parameter)]).update(vars(parameter))
                module._parameters[name] = made[id(parameter)]


def restore_buffers(modules: Modules, values: Mapping[str, torch.Tensor]) -> None:
    """Write values into a model's buffers; those on the meta device get memory."""
    for prefix, module in modules if values else ():
        for name, buffer in module._buffers.items():
            if buffer is None or (value := values.get(prefix + name)) is None:
                continue
            if buffer.is_meta:
                buffer = torch.empty_like(buffer, device=_home(buffer, module))
                module._buffers[name] = buffer
            write_part(held(name, buffer), value)


def _home(tensor: Any, module: nn.Module) -> torch.device:
    """Where a tensor on the meta device belongs."""
    if type(tensor).__name__ != "DTensor":
        return torch.get_default_device()
    state = getattr(module, "_get_fsdp_state", lambda: None)()
    group = getattr(state, "_fsdp_param_group", None)
    if getattr(getattr(group, "offload_policy", None), "pin_memory", None) is not None:
        return torch.device("cpu")  # CPUOffloadPolicy wants its parameters there
    return torch.device(tensor.device_mesh.device_type)


def _lost(modules: Iterable[tuple[str, nn.Module]], emptied: Emptied) -> set[str]:
    """The buffers without values: those on the meta device, and those that came from there."""
    lost = set()
    for prefix, module in modules:
        for name, buffer in module._buffers.items():
            came = name in emptied.get(module, ()) and buffer is not None and not buffer._version
            if buffer is not None and (buffer.is_meta or came):
                lost.add(prefix + name)
    return lost


def _came_empty(parameters: Iterable[torch.Tensor]) -> bool:
    """Whether nothing ever wrote into a parameter: they come from `to_empty`, it seems."""
    return not any(p._version or p.is_meta or writes_left(p) for p in parameters)


def _built(build: Callable[[], nn.Module], named: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The buffers of a model that is built anew, whose parameters are not filled."""
    values, _ = named_buffers(_anew(build))
    _refuse_another({name: tuple(buffer.shape) for name, buffer in named.items()}, values, "buffer")
    return {name: values[name] for name in named}


def _anew(build: Callable[[], nn.Module]) -> nn.Module:
    """A model that is built anew on the processor, whose parameters are not filled."""
    with torch.device("cpu"), deferred():
        model = call_user(build)
    if not isinstance(model, nn.Module):
        raise PlanError(
            f"nothing was changed: buffers() returned a {type(model).__name__}; expected a "
            "function that builds the model again and returns a torch.nn.Module"
        )
    return model


def _refuse_another(
    shapes: Mapping[str, tuple[int, ...]], values: Mapping[str, torch.Tensor], kind: str
) -> None:
    """Raise unless a model that was built anew has these tensors, with values."""
    for name, expected in shapes.items():
        shape = tuple(values[name].shape) if name in values else None
        if shape != expected or values[name].is_meta:
            found = f"has no such {kind}" if shape is None else f"has it with shape {shape}"
            found = "has it on the meta device" if shape == expected else found
            raise PlanError(
                f"nothing was changed: the model has a {kind} {name!r} of shape {expected}, but "
                f"the model from buffers() {found}. Return the same model, with values"
            )


@dataclass(frozen=True)
class _Own:
    """What a model's own initialization gives it.

    Attributes:
        buffers: what it writes into buffers, by name.
        parameters: what it gives parameters, by name: filled, or with fills that are postponed.
        why: how it failed, if it did.
    """

    buffers: dict[str, torch.Tensor]
    parameters: dict[str, nn.Parameter]
    why: str


def _own_values(model: nn.Module) -> _Own:
    """What a model's own initialization gives its tensors; the model is left as it was."""
    lent: dict[int, tuple[torch.Tensor, int]] = {}
    buffers = {id(b) for module in model.modules() for b in module._buffers.values()}

    def lend(tensor: torch.Tensor) -> torch.Tensor | None:
        shape, dtype = tuple(tensor.shape), tensor.dtype
        if isinstance(tensor, nn.Parameter):
            twin = nn.Parameter(torch.empty(shape, dtype=dtype), tensor.requires_grad)
            postpone(twin, poison)  # memory is taken only for what the initialization reads
            return twin
        if id(tensor) not in buffers:
            return None
        memory = torch.empty(shape, dtype=dtype)
        poison(memory)
        lent[id(memory)] = memory, memory._version
        return memory

    why = ""
    with torch.device("cpu"), untouched(model, lend), torch.no_grad(), deferred():
        forget_marks(model)
        layers, models = own_calls(model)
        for call in (*layers, *models):
            try:
                call.run()
            except Exception as error:  # another may write the buffers all the same
                why = why or f" ({call.name} failed: {type(error).__name__}: {error})"
        found, _ = named_buffers(model)
        values = {name: value for name, value in found.items() if _was_written(value, lent)}
        parameters, _ = named_parameters(model)
    return _Own(values, parameters, why)


def _was_written(value: torch.Tensor, lent: Mapping[int, tuple[torch.Tensor, int]]) -> bool:
    if value.is_meta:
        return False
    _, version = lent.get(id(value), (value, -1))
    if value._version == version:
        return False
    return not _is_poisoned(value)


def _is_written(parameter: nn.Parameter) -> bool:
    """Whether the whole of a parameter has values, or fills that are postponed."""
    if writes := writes_left(parameter):
        return writes[0].function is not poison
    return not parameter.is_meta and not _is_poisoned(parameter)


def _is_poisoned(value: torch.Tensor) -> bool:
    """Whether poison is left in a tensor: something in it was never written."""
    words = bits(value)
    return value.is_floating_point() and bool((words == word(words.dtype, NAN)).any())
