"""Containers that a model holds, read and put back through the methods of the builtins they are.

What a user's class does beside (refuses, counts, logs, answers for something else) is never called: a
container is known by its type, not by what it says of itself, and only the builtin that it derives
from reads and writes it.
"""

from __future__ import annotations

import enum
import gc
import operator
import sys
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable
from types import MappingProxyType, MemberDescriptorType
from typing import Any, ClassVar

import torch
from torch import nn

# An object that a module holds may hold another (a cache of keys and values, one for each layer). Any
# deeper lie what is no part of a model: a trainer, its data.
DEEPEST = 3
# Parts of the standard library whose objects hold what a user puts in.
HOLDERS = frozenset({"collections", "weakref", "_weakrefset", "types"})

# What holds nothing, by identity: not every class can be hashed.
SKIPPED = frozenset(
    map(id, (type(None), bool, int, float, complex, str, bytes, torch.Tensor, nn.Parameter))
)

Place = Any  # a key, a number, or the descriptor of a slot


def is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """Return whether a value's own type is one of some, whatever its `__class__` says.

    Example:
        >>> class Claims:
        ...     __class__ = dict
        >>> isinstance(Claims(), dict), is_a(Claims(), dict)
        (True, False)
    """
    return issubclass(type(value), kinds)


class Container:
    """A container, and what it held when this was made; here those that derive from `dict`."""

    kind: ClassVar[Any] = dict

    def __init__(self, held: Any) -> None:
        self.held = held
        self.listed = self._list()  # what it held, to be compared by identity
        self.before = self._copy() if self.listed else ()  # what brings it back

    def places(self) -> list[tuple[Place, Any]]:
        """Return the places at which another value may be put, and the values there now."""
        return list(dict.items(self.held))

    def put(self, place: Place, value: Any) -> None:
        """Put a value at a place; not under a key that is no longer found by its hash."""
        if dict.get(self.held, place, self) is not self:
            dict.__setitem__(self.held, place, value)

    def restore(self) -> None:
        """Put back what the container held, if it holds anything else now."""
        now = self._list()
        same = len(now) == len(self.listed) and all(map(operator.is_, now, self.listed))
        if not same:
            self._write()

    def _copy(self) -> Any:
        own = type(self.held).__iter__ is dict.__iter__  # or else copying would call it
        return dict.copy(self.held) if own else self.places()

    def _list(self) -> list[Any]:
        return [*dict.keys(self.held), *dict.values(self.held)]

    def _write(self) -> None:
        """Write it anew; from a copy by the stored hashes: a key may have another by now, or none."""
        dict.clear(self.held)
        dict.update(self.held, self.before)
        for key, value in self.places():  # what a weak dict held may be gone
            refs = [ref for ref in (key, value) if is_a(ref, weakref.ref)]
            if any(weakref.ref.__call__(ref) is None for ref in refs):
                dict.pop(self.held, key, None)


class _Ordered(Container):
    kind = OrderedDict

    def places(self) -> list[tuple[Place, Any]]:
        return list(OrderedDict.items(self.held))

    def put(self, place: Place, value: Any) -> None:
        OrderedDict.__setitem__(self.held, place, value)

    def _copy(self) -> Any:
        return self.places()

    def _list(self) -> list[Any]:
        if not dict.__len__(self.held):  # as most of a module's: its hooks
            return []
        return [*OrderedDict.keys(self.held), *OrderedDict.values(self.held)]

    def _write(self) -> None:
        OrderedDict.clear(self.held)
        for key, value in self.before:
            OrderedDict.__setitem__(self.held, key, value)


class _List(Container):
    kind: ClassVar[Any] = list

    def places(self) -> list[tuple[Place, Any]]:
        return list(enumerate(self._list()))

    def put(self, place: Place, value: Any) -> None:
        self.kind.__setitem__(self.held, place, value)

    def _copy(self) -> Any:
        return self._list()

    def _list(self) -> list[Any]:
        return list(self.kind.__iter__(self.held))

    def _write(self) -> None:
        list.__setitem__(self.held, slice(None), self.before)


class _Deque(_List):
    kind = deque

    def _write(self) -> None:
        deque.clear(self.held)
        deque.extend(self.held, self.before)


class _Set(_List):
    kind = set

    def places(self) -> list[tuple[Place, Any]]:
        return []  # an element's place is itself

    def _copy(self) -> Any:
        return frozenset(self.held)  # a set's is made by the stored hashes

    def _write(self) -> None:
        set.clear(self.held)
        set.update(self.held, self.before)


class _Slots(Container):
    """The slots of an object, by the descriptors that frozen classes cannot refuse."""

    kind = None

    def places(self) -> list[tuple[Place, Any]]:
        found = []
        for member in slots(type(self.held)):
            try:
                found.append((member, member.__get__(self.held)))
            except AttributeError:  # nothing is there yet
                continue
        return found

    def put(self, place: Place, value: Any) -> None:
        place.__set__(self.held, value)

    def _copy(self) -> Any:
        return self.places()

    def _list(self) -> list[Any]:
        return [part for pair in self.places() for part in pair]

    def _write(self) -> None:
        for member, _ in self.places():
            member.__delete__(self.held)
        for member, value in self.before:
            member.__set__(self.held, value)


KINDS: dict[Any, type[Container]] = {
    made.kind: made for made in (_Ordered, Container, _List, _Set, _Deque)
}


def slots(kind: type) -> list[MemberDescriptorType]:
    """Return the slots of a class that was written in Python."""
    return [
        member
        for cls in kind.__mro__
        if "__slots__" in vars(cls)
        for member in vars(cls).values()
        if type(member) is MemberDescriptorType
    ]


def namespace(value: Any) -> Any:
    """Return the attributes of an object; None where it has none. It is not asked itself."""
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def home(kind: type) -> str:
    """Return the package that a class comes from, by its first name."""
    module = type.__getattribute__(kind, "__module__")
    return module.partition(".")[0] if is_a(module, str) else ""


def is_plain(value: Any) -> bool:
    """Return whether it is an object of the user's: no container, module or class."""
    kind = type(value)
    if issubclass(kind, (type, enum.Enum, nn.Module, torch.Tensor, weakref.ref)) or _kind_of(kind):
        return False
    top = home(kind)
    system = top in sys.stdlib_module_names or top in ("torch", "builtins", "numpy")
    return (not system or top in HOLDERS) and (namespace(value) is not None or bool(slots(kind)))


def parts(value: Any) -> list[tuple[str, Any]]:
    """Return what a container or a plain object holds, with how its place is written in Python."""
    kind = type(value)
    base = _kind_of(kind)
    if base is not None:
        return [(f"[{place!r}]", part) for place, part in KINDS[base](value).places()]
    if issubclass(kind, tuple):
        return [(f"[{place}]", part) for place, part in enumerate(tuple.__iter__(value))]
    return [(f".{name}", part) for name, part in held_by(value)] if is_plain(value) else []


def held_by(value: Any) -> list[tuple[str, Any]]:
    """Return what an object holds in its namespace and its slots, with the names."""
    held = [(member.__name__, part) for member, part in _Slots(value).places()]
    return held + list(dict.items(namespace(value) or {}))


def containers(values: Iterable[Any]) -> list[Container]:
    """Return the containers among some values, in them, and so on: each once.

    The namespace and the slots of a plain object are such, too, and those of a user's container.
    """
    found: list[Container] = []
    seen: dict[int, Any] = {}  # kept, so that no other gets the number
    bases: dict[int, Any] = {}  # by identity: not every class can be hashed
    waiting = [(value, 0) for value in values]
    while waiting:
        value, depth = waiting.pop()
        kind = type(value)
        if id(kind) in SKIPPED or id(value) in seen:
            continue
        seen[id(value)] = value
        if id(kind) not in bases:
            bases[id(kind)] = _kind_of(kind)
        base = bases[id(kind)]
        inner: list[Any] = []
        if base is not None:
            found.append(KINDS[base](value))
            inner = found[-1].listed
        elif issubclass(kind, (tuple, frozenset)):
            inner = list((tuple if issubclass(kind, tuple) else frozenset).__iter__(value))
        elif kind is MappingProxyType:
            inner = [d for d in gc.get_referents(value) if not _is_of_class(d)]
        waiting += [(part, depth) for part in inner if id(type(part)) not in SKIPPED]
        user = kind is not base if base is not None else depth < DEEPEST and is_plain(value)
        if not user:
            continue
        depth += base is None
        waiting.append((namespace(value), depth))
        if slots(kind):
            found.append(_Slots(value))
            waiting += [(part, depth) for part in found[-1].listed]
    return found


def _kind_of(kind: type) -> Any:
    """Return the builtin container that a class derives from; None for any other class."""
    return next((known for base in kind.__mro__ for known in KINDS if base is known), None)


def _is_of_class(value: Any) -> bool:
    """Return whether a mapping is the namespace of a class, which is not written behind its back."""
    return is_a(value, dict) and dict.get(value, "__module__") is not None
