"""Running a model without leaving a trace in it."""

from __future__ import annotations

import enum
import operator
import random
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

# An object that a module holds may hold another (a cache of keys and values, one for each layer). Any
# deeper lie what is no part of a model: a trainer, its data.
DEEPEST = 3
BUILTIN = frozenset({OrderedDict, defaultdict, dict, list, set, deque})


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
    held = _containers(vars(module) for module in model.modules())
    contents = [_contents(container) for container in held]
    generators = _generator_states()
    memories = [(memory, memory.cache_info().misses) for memory in _memories(model)]
    lent: dict[int, Any] = {}
    keeper = Keeper()

    def lend(tensor: torch.Tensor) -> torch.Tensor | None:
        other = replace(tensor)
        if other is None and isinstance(tensor, nn.Parameter):
            keeper.keep(tensor)
        return other

    try:
        with _fresh_parametrizations():
            for container in held:
                _lend(container, lend, lent)
            yield keeper
    finally:
        for container, before in zip(held, contents, strict=True):
            _restore(container, before)
        keeper.restore()
        for memory, misses in memories:
            if memory.cache_info().misses != misses:
                memory.cache_clear()  # it would hand a tensor of this run to the next
        _restore_generators(generators)


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
        return int(tensor.untyped_storage()._cdata)
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
    classes = {c for module in model.modules() for c in type(module).__mro__}
    own = [c for c in classes if not c.__module__.startswith(("torch.", "builtins"))]
    places: list[Mapping[str, Any]] = [vars(c) for c in own]
    places += [vars(sys.modules[name]) for name in {c.__module__ for c in own} & set(sys.modules)]
    beside = [v for place in places for v in list(place.values())]
    wrapped = (staticmethod, classmethod)
    held = [
        v.__func__ if type(v) in wrapped else v for v in beside
    ]  # others may refuse to be asked
    found = {id(v): v for v in held if type(v).__name__ == "_lru_cache_wrapper"}
    return list(found.values())


def _contents(container: Any) -> list[Any]:
    """What a container holds: of a dict all keys, then all values."""
    kind = _builtin(container)
    if not issubclass(kind, dict):
        return list(kind.__iter__(container))
    return [*kind.keys(container), *kind.values(container)]


def _restore(container: Any, contents: list[Any]) -> None:
    """Put back what a container held, if it holds anything else now."""
    now = _contents(container)
    if len(now) == len(contents) and all(map(operator.is_, now, contents)):
        return
    kind = _builtin(container)
    kind.clear(container)
    if issubclass(kind, dict):
        half = len(contents) // 2
        for key, value in zip(contents[:half], contents[half:], strict=True):
            kind.__setitem__(container, key, value)
    elif issubclass(kind, set):
        kind.update(container, contents)
    else:
        kind.extend(container, contents)


def _builtin(container: Any) -> Any:
    """The kind of container that one is made of, whose methods do what they say.

    Those of its own kind may refuse: a model's configuration is often frozen.
    """
    kind = type(container)
    return kind if kind in BUILTIN else next(base for base in kind.__mro__ if base in BUILTIN)


def _containers(values: Iterable[Any]) -> list[Any]:
    """The containers among some values, in them, and so on: each once.

    The namespace of a plain object is one, too.
    """
    found: dict[int, Any] = {}
    waiting = [(value, 0) for value in values]
    while waiting:
        value, depth = waiting.pop()
        if type(value) is tuple:
            waiting.extend((item, depth) for item in value)
            continue
        if _is_plain(value) and depth < DEEPEST:
            value, depth = namespace(value), depth + 1
        if isinstance(value, (dict, list, set, deque)) and id(value) not in found:
            found[id(value)] = value
            kind = _builtin(value)
            items = kind.values(value) if issubclass(kind, dict) else kind.__iter__(value)
            waiting.extend((item, depth) for item in items)
    return list(found.values())


def namespace(value: Any) -> Any:
    """The attributes of an object; None where it has none. What it answers itself is not asked."""
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def _is_plain(value: Any) -> bool:
    """Whether it is an object of the user's: no container, module or class, none of the system's."""
    if namespace(value) is None or isinstance(
        value, (type, enum.Enum, nn.Module, torch.Tensor, dict, list, set, deque)
    ):
        return False
    kind = type(value)
    top = kind.__module__.partition(".")[0]
    if kind.__name__ == "SimpleNamespace":
        return True
    return top not in sys.stdlib_module_names and top not in ("torch", "builtins", "numpy")


def _lend(
    container: Any,
    replace: Callable[[torch.Tensor], torch.Tensor | None],
    lent: dict[int, Any],
) -> None:
    """Replace the tensors of a container, those that others share too by the same."""
    if isinstance(container, (dict, list, deque)):
        pairs = container.items() if isinstance(container, dict) else enumerate(container)
        for place, value in [*pairs]:
            if (other := _swapped(value, replace, lent)) is not value:
                _put(container, place, other)


def _swapped(
    value: Any,
    replace: Callable[[torch.Tensor], torch.Tensor | None],
    lent: dict[int, Any],
) -> Any:
    """Return what is lent in the place of a tensor, or of a tuple with some."""
    if type(value) is tuple and value:
        others = tuple(_swapped(item, replace, lent) for item in value)
        return others if any(a is not b for a, b in zip(others, value, strict=True)) else value
    if not isinstance(value, torch.Tensor):
        return value
    if id(value) not in lent:
        other = replace(value)
        lent[id(value)] = value if other is None else other
    return lent[id(value)]


def _put(container: Any, place: Any, value: Any) -> None:
    """Put a tensor into a container, also into one that refuses changes."""
    try:
        container[place] = value
    except Exception:  # whatever it raises
        _builtin(container).__setitem__(container, place, value)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put torch's, Python's and NumPy's random number generators back at the end."""
    states = _generator_states()
    try:
        yield
    finally:
        _restore_generators(states)


def tensor_attributes(module: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a module holds as neither parameters nor buffers, by where they lie in it."""
    found: dict[str, torch.Tensor] = {}
    registered = ("_parameters", "_buffers", "_modules")
    waiting = [(name, v, 0) for name, v in vars(module).items() if name not in registered]
    while waiting:
        name, value, depth = waiting.pop()
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, nn.Module):  # one that a list hides from its parent
            waiting += [(f"{name}.{key}", v, depth) for key, v in value.named_parameters()]
        elif depth < DEEPEST and isinstance(value, (list, tuple, deque)):
            waiting += [(f"{name}[{i}]", v, depth + 1) for i, v in enumerate(value)]
        elif depth < DEEPEST and isinstance(value, dict):
            waiting += [(f"{name}[{key!r}]", v, depth + 1) for key, v in value.items()]
        elif depth < DEEPEST and _is_plain(value):
            own = namespace(value)
            waiting += [(f"{name}.{key}", v, depth + 1) for key, v in own.items()]
    return found


def _generator_states() -> dict[str, Any]:
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002  # the legacy generator is the global one
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore_generators(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
