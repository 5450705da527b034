"""Running a model without leaving a trace in it."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from isoinit._reading.torch.containers import (
    DEEPEST,
    Container,
    containers,
    home,
    is_a,
    namespace,
    parts,
)
from isoinit._reading.torch.names import first_objects
from isoinit._reading.torch.rng import generators_kept
from isoinit._system.private import storage_key


class Keeper:
    """Tensors that stay where they are during a run, and are put back as they were afterwards.

    Their values are copied only when a call is about to write into them: a run needs no memory for
    a second copy of the model.
    """

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def keep(self, tensor: torch.Tensor) -> None:
        """Put this tensor back at the end."""
        self._kept.setdefault(_memory(tensor), _Kept(tensor))

    def save(self, tensor: torch.Tensor) -> None:
        """Copy what is kept in the memory of a tensor that is about to be written into."""
        if (kept := self._kept.get(_memory(tensor))) is not None:
            kept.save()

    def restore(self) -> None:
        """Put everything back."""
        for kept in self._kept.values():
            kept.restore()


@contextmanager
def untouched(
    model: nn.Module, replace: Callable[[torch.Tensor], torch.Tensor | None]
) -> Iterator[Keeper]:
    """Lend the model other tensors, and put everything back as it was at the end.

    Args:
        model: the model. Inside the block its parameters, buffers and tensor attributes are those
            that `replace` gives; whatever the forward stores on its modules is undone.
        replace: the tensor to lend in place of one of the model's, or None to leave it.

    Yields:
        Who keeps the tensors that are left: to be told before something writes into one.

    Attributes, buffers, parameters (their values too, where they are not replaced), hooks,
    train/eval mode, the objects that modules hold, what functions near the model remember, and random
    number generators are restored, also when the block raises.
    """
    with generators_kept(), _lending(model, replace) as keeper:
        yield keeper


@contextmanager
def _lending(
    model: nn.Module, replace: Callable[[torch.Tensor], torch.Tensor | None]
) -> Iterator[Keeper]:
    held = containers(vars(module) for module in model.modules())
    memories = [(memory, memory.cache_info().misses) for memory in _memories(model)]
    lent: dict[int, Any] = {}
    keeper = Keeper()
    firsts = first_objects(model)  # one twin for what is one memory, as one parameter has

    def keep(tensor: torch.Tensor) -> torch.Tensor | None:
        other = replace(tensor)
        if other is None and isinstance(tensor, nn.Parameter):
            keeper.keep(tensor)
        return other

    def lend(tensor: torch.Tensor) -> torch.Tensor | None:
        first = firsts.get(id(tensor), tensor)
        other: torch.Tensor | None = (
            keep(tensor) if first is tensor else _swapped(first, keep, lent)
        )
        return other

    try:
        with _fresh_parametrizations():
            for container in held:
                _lend(container, lend, lent)
            for tensor in (part for c in held for part in c.listed if is_a(part, torch.Tensor)):
                if id(tensor) not in lent:  # an element of a set, a key
                    keeper.keep(tensor)
            yield keeper
    finally:
        _restore_all(held)
        keeper.restore()
        for memory, misses in memories:
            if memory.cache_info().misses != misses:
                memory.cache_clear()  # it would hand a tensor of this run to the next


class _Kept:
    """One tensor that stays: a forward may clamp it, freeze it, or put another in its place."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.trains = tensor.requires_grad
        self.grad = tensor.grad if tensor.is_leaf else None
        self.before: tuple[torch.Tensor, torch.Tensor] | None = None  # its memory, and a copy

    def save(self) -> None:
        if self.before is None and not self.tensor.is_meta:
            memory = self.tensor.detach()
            self.before = memory, memory.clone()

    def restore(self) -> None:
        if self.before is not None:
            memory, values = self.before
            if memory.layout is not torch.strided:
                self.tensor.detach().copy_(values)
            elif memory.data_ptr() != self.tensor.data_ptr():
                self.tensor.data = memory
            if memory.layout is torch.strided and not torch.equal(memory, values):
                memory.copy_(values)
        if self.tensor.is_leaf:
            self.tensor.requires_grad_(self.trains)
            self.tensor.grad = self.grad


def _memory(tensor: torch.Tensor) -> int:
    """What tells whether two tensors share memory; of those without any of their own, identity."""
    if type(tensor) in (torch.Tensor, nn.Parameter) and tensor.layout is torch.strided:
        return storage_key(tensor)
    return id(tensor)


@contextmanager
def _fresh_parametrizations() -> Iterator[None]:
    """Inside `parametrize.cached()`, weights that were made before would be met as constants."""
    before, parametrize._cache = parametrize._cache, {}
    try:
        yield
    finally:
        parametrize._cache = before


def _memories(model: nn.Module) -> list[Any]:
    """The `functools` caches among the methods of a model's classes and beside those classes."""
    classes = {id(c): c for module in model.modules() for c in type(module).__mro__}
    own = [c for c in classes.values() if home(c) not in ("torch", "builtins")]
    beside = [v for c in own for v in list(vars(c).values())]
    for name in {c.__module__ for c in own} & sys.modules.keys():
        beside += (namespace(sys.modules[name]) or {}).values()  # any object may stand there
    wrapped = (staticmethod, classmethod)
    held = [
        v.__func__ if type(v) in wrapped else v for v in beside
    ]  # others may refuse to be asked
    found = {id(v): v for v in held if type(v).__name__ == "_lru_cache_wrapper"}
    return list(found.values())


def _restore_all(held: list[Container]) -> None:
    """Put all containers back; one that cannot be (a key that has no hash any more) stops no other."""
    failures = []
    for container in held:
        try:
            container.restore()
        except Exception as error:  # whatever a key of the user's raises
            failures.append(error)
    if failures:
        raise failures[0]


def _lend(
    container: Container,
    replace: Callable[[torch.Tensor], torch.Tensor | None],
    lent: dict[int, Any],
) -> None:
    """Replace the tensors of a container, those that others share too by the same."""
    for place, value in container.places() if container.listed else ():
        if (other := _swapped(value, replace, lent)) is not value:
            container.put(place, other)


def _swapped(
    value: Any,
    replace: Callable[[torch.Tensor], torch.Tensor | None],
    lent: dict[int, Any],
) -> Any:
    """Return what is lent in the place of a tensor, or of a tuple with some."""
    kind = type(value)
    if issubclass(kind, tuple) and (kind is tuple or hasattr(kind, "_fields")):
        items = tuple(tuple.__iter__(value))
        others = [_swapped(item, replace, lent) for item in items]
        return tuple.__new__(kind, others) if any(map(operator.is_not, others, items)) else value
    if not issubclass(kind, torch.Tensor):
        return value
    if id(value) not in lent:
        other = replace(value)
        lent[id(value)] = value if other is None else other
    return lent[id(value)]


def tensor_attributes(module: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a module holds as neither parameters nor buffers, by where they lie in it."""
    found: dict[str, torch.Tensor] = {}
    registered = ("_parameters", "_buffers", "_modules")
    waiting = [(name, v, 0) for name, v in vars(module).items() if name not in registered]
    while waiting:
        name, value, depth = waiting.pop()
        if is_a(value, torch.Tensor):
            found[name] = value
        elif is_a(value, nn.Module):  # one that a list hides from its parent
            waiting += [(f"{name}.{key}", v, depth) for key, v in value.named_parameters()]
        elif depth < DEEPEST:
            waiting += [(f"{name}{place}", v, depth + 1) for place, v in parts(value)]
    return found
