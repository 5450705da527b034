"""Plain data is read by type annotations: what is not of a field's type is refused, with its place.

What a file holds may be anything. A reader says which fields it expects, as the annotations of a
dataclass say it, and gets values of these types or an error such as
`parameters.conv1.weight.layout.fan_in: found "wide"; expected a finite number`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from isoinit.errors import ArgumentError

Place = tuple[str, ...]  # the keys that lead to a value
DEEPEST = 32  # keys; only initializers hold others of their kind, and three of them are many


def fault(at: Place, found: object, expected: str) -> ArgumentError:
    """Return the error for a value at a place, which says what was found and what was expected."""
    return ArgumentError(f"{named(at)}found {shown(found)}; expected {expected}")


def named(at: Place) -> str:
    """Return the beginning of an error: a place, or "" for the whole."""
    return f"{'.'.join(at)}: " if at else ""


def shown(value: object) -> str:
    """Return a value for an error: short, whatever it is."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def types_of(cls: type[Any]) -> dict[str, Any]:
    """Return the type of each field of a dataclass, by name; Any where its name is not known here."""
    key: Any = cls  # a class can be hashed whose instances cannot
    return _types_of(key)


@cache
def _types_of(cls: type[Any]) -> dict[str, Any]:
    try:
        hints = get_type_hints(cls)
    except NameError:  # a user's class, whose types are imported for type checkers alone
        hints = {}
    return {field.name: hints.get(field.name, Any) for field in fields(cls)}


def read_fields(
    types: Mapping[str, Any], data: object, at: Place, optional: Collection[str] = ()
) -> dict[str, Any]:
    """Return the fields that an object holds, each of its type.

    Args:
        types: the type of each field, by name.
        data: what should be the object.
        at: where it stands.
        optional: the fields that may be missing; what is missing is left out.

    Raises:
        ArgumentError: if it is no object, a field is missing or unknown, or of another type.

    Example:
        >>> read_fields({"std": float, "of": str}, {"std": -1}, ("weight",), ["of"])
        {'std': -1}
    """
    if not isinstance(data, Mapping):
        raise fault(at, data, "an object")
    for key in data:
        if key not in types:
            known = ", ".join(types) or "none"
            raise ArgumentError(
                f"{named(at)}there is no field called {shown(key)}; expected {known}"
            )
    for name in types:
        if name not in data and name not in optional:
            raise ArgumentError(f"{named(at)}the field {name!r} is missing")
    return {n: read(kind, data[n], (*at, n)) for n, kind in types.items() if n in data}


def read(kind: Any, value: Any, at: Place) -> Any:
    """Return a value that is of a type; what is of a type that is not known here, as it is.

    Raises:
        ArgumentError: if it is of another type.
    """
    if len(at) > DEEPEST:
        raise ArgumentError(f"{'.'.join(at[:6])}…: nested more than {DEEPEST} deep")
    if kind in _KNOWN:
        return _plain(kind, value, at)
    if hasattr(kind, "from_dict"):
        return kind.from_dict(value, at)
    if kind is Mapping:  # of anything
        if not isinstance(value, Mapping):
            raise fault(at, value, "an object")
        return value
    outer, inner = get_origin(kind), get_args(kind)
    if outer in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        others = [each for each in inner if each is not NoneType]
        return read(others[0], value, at) if len(others) == 1 else value
    if outer is tuple and inner[1:] == (...,):
        if not isinstance(value, (list, tuple)):
            raise fault(at, value, "a list")
        return tuple(read(inner[0], item, (*at, str(i))) for i, item in enumerate(value))
    if outer is dict:
        if not isinstance(value, Mapping):
            raise fault(at, value, "an object")
        return {read(str, key, at): read(inner[1], item, (*at, key)) for key, item in value.items()}
    return value


_KNOWN = {
    bool: "true or false",
    int: "an integer",
    float: "a finite number",
    str: "text",
}


def _plain(kind: type, value: Any, at: Place) -> Any:
    """Return a value of a type that JSON knows; an integer is a float too, and stays one."""
    fits = isinstance(value, (int, float) if kind is float else kind)
    if isinstance(value, bool):  # which Python counts as an int
        fits = kind is bool
    if fits and kind is float:
        # An int beyond all floats compares, where math.isfinite would overflow.
        fits = abs(value) <= sys.float_info.max if isinstance(value, int) else math.isfinite(value)
    if not fits:
        raise fault(at, value, _KNOWN[kind])
    return value
