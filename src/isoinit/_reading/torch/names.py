"""The names of a model's parameters, as they are without any wrapper.

`torch.compile`, DDP, FSDP and activation checkpointing put a part of their own in front of a name.
The key of a parameter's random numbers is its name, so those parts are dropped: wrapping a model
must not change its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from isoinit._reading.torch.memory import is_one_memory, places_of
from isoinit.errors import ArgumentError

T = TypeVar("T", bound=torch.Tensor)
V = TypeVar("V")


class Modules(list[tuple[str, nn.Module]]):
    """Every module of a model under each of its names, and what is asked of them again and again.

    Attributes:
        kinds: their classes: a model has thousands of modules, and few classes.
        hooked: those that have something called before their forward.
        buffered: those that have buffers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[type[nn.Module]] = set()
        self.hooked: list[tuple[str, nn.Module]] = []
        self.buffered: list[tuple[str, nn.Module]] = []

    def add(self, prefix: str, module: nn.Module) -> None:
        """Add a module, with what stands before the names of its tensors."""
        one = prefix, module
        self.append(one)
        self.kinds.add(type(module))
        if module._forward_pre_hooks:
            self.hooked.append(one)
        if module._buffers:
            self.buffered.append(one)


# The class of each wrapper, by name (importing them would be slow), and where it keeps the model.
WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "OffloadWrapper": "_checkpoint_wrapped_module",
}


def wrapped_child(module: nn.Module) -> str | None:
    """The name under which a wrapper keeps what it wraps; None for any other module."""
    return _hidden_in(type(module))  # type: ignore[arg-type]  # a class can be hashed


@cache
def _hidden_in(kind: type[nn.Module]) -> str | None:
    for cls in kind.__mro__:
        if cls.__name__ in WRAPPERS and cls.__module__.startswith("torch."):
            return WRAPPERS[cls.__name__]
    return None


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside its outermost wrappers."""
    while (child := wrapped_child(model)) is not None:
        model = getattr(model, child)
    return model


def require_parameters(
    model: nn.Module, purpose: str
) -> tuple[dict[str, nn.Parameter], dict[str, str]]:
    """`named_parameters` of what must be a model with parameters.

    Raises:
        ArgumentError: if it is not, naming the purpose ("plan", "check"), is one of Keras, or was
            built inside `torch.inference_mode`.
    """
    refuse_keras(model)
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
    parameters, aliases = named_parameters(model)
    if not parameters:
        raise ArgumentError(
            f"{type(model).__name__} has no parameters, so there is nothing to {purpose}"
        )
    if made := [name for name, p in parameters.items() if not is_lazy(p) and p.is_inference()]:
        raise ArgumentError(
            f"parameter {made[0]!r} was made inside torch.inference_mode, so it cannot be "
            f"trained. Build the model outside torch.inference_mode, then {purpose} it"
        )
    return parameters, aliases


def refuse_keras(model: object) -> None:
    """Raise `ArgumentError` for a model of Keras, whose layers are modules of torch on torch alone."""
    modules = model.named_modules() if isinstance(model, nn.Module) else [("", model)]
    for name, module in modules:
        for kind in type(module).__mro__:
            if str(kind.__module__).partition(".")[0] == "keras":
                place = f"layer {name!r}" if name else "model"
                raise ArgumentError(
                    f"{place} is a {type(module).__name__} of Keras, and Keras keeps weights in "
                    "its own variables. For a Keras model, call isoinit.keras.plan or "
                    "isoinit.keras.init. A torch module with Keras layers inside is not "
                    "supported; nothing was changed"
                )


def named_parameters(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, str]]:
    """Every parameter once, by its first name, and the other names of tied ones.

    Tied are one parameter in two places, and two over the very same memory (`b.data = a.data`).

    Returns:
        Parameters by name, in the order of `model.named_parameters()`, and for each further name
        of a tied parameter the name that it goes by.
    """
    return parameters_of(named_modules(model))


def parameters_of(modules: Modules) -> tuple[dict[str, nn.Parameter], dict[str, str]]:
    """Return the same as `named_parameters`, of a model whose modules are known."""
    found = each_parameter(modules)
    firsts = _same([parameter for _, parameter in found])
    return _once((name, firsts[id(parameter)]) for name, parameter in found)


def first_objects(model: nn.Module) -> dict[int, nn.Parameter]:
    """The parameters of a model by identity, for each the first that has the same memory."""
    return _same([parameter for _, parameter in each_parameter(named_modules(model))])


def names_by_id(model: nn.Module) -> dict[int, str]:
    """The name that each parameter of a model goes by, by identity."""
    names = {id(parameter): name for name, parameter in named_parameters(model)[0].items()}
    return {key: names[id(first)] for key, first in first_objects(model).items()}


def each_parameter(modules: Modules) -> list[tuple[str, nn.Parameter]]:
    """Return every parameter under each of its names."""
    return [
        (prefix + name, parameter)
        for prefix, module in modules
        for name, parameter in module._parameters.items()
        if parameter is not None
    ]


def named_buffers(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Every buffer once, those too that are not saved, as `named_parameters` does parameters."""
    return buffers_of(named_modules(model))


def buffers_of(
    modules: Iterable[tuple[str, nn.Module]],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the same as `named_buffers`, of a model whose modules are known."""
    return _once(
        (prefix + name, buffer)
        for prefix, module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    )


def named_modules(model: nn.Module) -> Modules:
    """Every module under each of its names, parents first, with what stands before its tensors."""
    found = Modules()
    found.add("", model)
    _walk(model, "", set(), found)
    return found


def _once(found: Iterable[tuple[str, T]]) -> tuple[dict[str, T], dict[str, str]]:
    tensors: dict[str, T] = {}
    names: dict[int, str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in found:
        if id(tensor) in names:
            aliases[name] = names[id(tensor)]
        else:
            names[id(tensor)] = name
            tensors[name] = tensor
    return tensors, aliases


def _same(found: Iterable[torch.Tensor]) -> dict[int, Any]:
    """Return for each tensor, by identity, the first over the very same memory: mostly itself."""
    tensors = {id(tensor): tensor for tensor in found}
    places = places_of(tensors.values())
    firsts: dict[int, torch.Tensor] = {}
    met: dict[int, list[torch.Tensor]] = {}
    for place, (key, tensor) in zip(places, tensors.items(), strict=True):
        there = met.setdefault(place, []) if place else []
        firsts[key] = next((other for other in there if is_one_memory(other, tensor)), tensor)
        if firsts[key] is tensor:
            there.append(tensor)
    return firsts


def _walk(module: nn.Module, prefix: str, path: set[int], found: Modules) -> None:
    """Add what lies in a module to what was found; `path` is what the module lies in."""
    hidden = wrapped_child(module)
    for name, child in module._modules.items():
        if child is None or id(child) in path:  # a module may lie within itself
            continue
        inside = prefix if name == hidden else f"{prefix}{name}."
        found.add(inside, child)
        if child._modules:
            path.add(id(child))
            _walk(child, inside, path, found)
            path.remove(id(child))


def plain_names(state: Mapping[str, V]) -> dict[str, V]:
    """A checkpoint's entries by the names that they have without wrappers."""
    hidden = set(WRAPPERS.values()) - {"module"}  # which may be the name of a layer
    prefix = "module." if state and all(name.startswith("module.") for name in state) else ""
    return {
        ".".join(part for part in name.removeprefix(prefix).split(".") if part not in hidden): value
        for name, value in state.items()
    }
