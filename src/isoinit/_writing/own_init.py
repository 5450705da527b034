"""The calls by which a model initializes itself: those of its layers, and its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch.names import unwrap

# What torch's layers call at the end of their constructors.
CONSTRUCTORS = ("reset_parameters", "_reset_parameters")
# What models call their own initialization; the first that is there counts.
OWN = ("init_weights", "_init_weights", "initialize_weights", "_initialize_weights")
# How `transformers` marks a module that it has initialized, and a parameter that it has loaded.
MARK = "_is_hf_initialized"


@dataclass(frozen=True)
class Call:
    """One call of an initialization that a model has."""

    name: str
    run: Callable[[], Any]


def own_calls(model: nn.Module) -> tuple[list[Call], list[Call]]:
    """What initializes a model: the layers' own `reset_parameters`, then what the model adds.

    That is the order of construction: a layer fills itself when it is made, and the model goes over
    its layers when all are there. Children come before parents.
    """
    layers: list[Call] = []
    models: list[Call] = []
    _collect(unwrap(model), set(), layers, models, inside=False)
    return layers, models


def calls_on_empty(model: nn.Module) -> list[Call]:
    """What a model without values is initialized by: its own method, or else its layers' methods.

    No constructor runs again after `to_empty`. So where a model has a method of its own, that is to
    see to all that lies in it; the layers' `reset_parameters` are called only where there is none.
    """
    return list(_first(unwrap(model), set()))


def forget_marks(model: nn.Module) -> None:
    """Drop the marks by which `transformers` skips what it has initialized."""
    for module in model.modules():
        vars(module).pop(MARK, None)


def was_loaded(parameter: torch.Tensor) -> bool:
    """Return whether `transformers` loaded a parameter from a checkpoint, by its own record.

    `from_pretrained` marks what it loads, and what it ties to that, so that its initialization
    passes over it; what the checkpoint lacks has no mark. `copy.deepcopy` and pickles drop the marks.
    """
    return getattr(parameter, MARK, False) is True


def forget_loaded(parameters: Iterable[torch.Tensor]) -> None:
    """Drop the mark of parameters that were loaded, for they have been filled since then."""
    for parameter in parameters:
        if marks := parameter.__dict__:  # most have none
            marks.pop(MARK, None)


def is_pretrained(module: nn.Module) -> bool:
    """Whether it is a model of `transformers`, which is not imported to find out."""
    return any(
        c.__name__ == "PreTrainedModel" and c.__module__.startswith("transformers.")
        for c in type(module).__mro__
    )


def constructor_of(module: nn.Module) -> str:
    """The method that a layer's constructor calls last; empty if there is none."""
    return next((name for name in CONSTRUCTORS if _required(module, name) == 0), "")


def own_call(module: nn.Module) -> list[Call]:
    """A method that initializes the whole module, or one that is to be applied to each in it."""
    for name in OWN:
        required = _required(module, name)
        if required == 0:
            return [Call(name, getattr(module, name))]
        if required == 1 and name.startswith("_"):
            return [Call(name, functools.partial(module.apply, getattr(module, name)))]
    return []


def _first(module: nn.Module, met: set[int]) -> Iterator[Call]:
    if id(module) in met:
        return
    met.add(id(module))
    if own := [] if _is_torchs(module) else own_call(module):
        met.update(map(id, module.modules()))
        yield from own
        return
    for child in module.children():
        yield from _first(child, met)
    if name := constructor_of(module):
        yield Call(f"{type(module).__name__}.{name}", getattr(module, name))


def _collect(
    module: nn.Module, met: set[int], layers: list[Call], models: list[Call], *, inside: bool
) -> None:
    """The calls of a module and of those in it, each module once; `inside` a model that sees to it."""
    if id(module) in met:
        return
    met.add(id(module))
    whole = not inside and is_pretrained(module)
    for child in module.children():
        _collect(child, met, layers, models, inside=inside or whole)
    if name := constructor_of(module):
        layers.append(Call(f"{type(module).__name__}.{name}", getattr(module, name)))
    if whole:  # a model of `transformers` goes over all its modules, models in it too
        model: Any = module
        models.append(Call("_init_weights", model.initialize_weights))
    elif not inside and not _is_torchs(module):
        models.extend(own_call(module))


def _is_torchs(module: nn.Module) -> bool:
    """Whether its class is torch's, and not one that `fully_shard` derived from the user's."""
    kinds = [c for c in type(module).__mro__ if c.__name__ != "FSDPModule"]
    fully_sharded = len(kinds) < len(type(module).__mro__)
    return kinds[int(fully_sharded)].__module__.startswith("torch.")


def _required(module: nn.Module, name: str) -> int:
    """How many arguments a method of a module's class must be given; -1 if there is none."""
    if not callable(getattr(type(module), name, None)):  # a wrapper would answer for what it wraps
        return -1
    method = getattr(module, name)
    if isinstance(method, MethodType) and isinstance(method.__func__, FunctionType):
        return _required_of(method.__func__)
    return _count(method)


@functools.lru_cache(maxsize=256)  # a model has hundreds of layers of a few classes
def _required_of(function: FunctionType) -> int:
    return _count(MethodType(function, object()))


def _count(method: Callable[..., Any]) -> int:
    """How many arguments a call must give."""
    parameters = inspect.signature(method).parameters.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sum(p.default is p.empty and p.kind not in free for p in parameters)
