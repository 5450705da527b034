"""JSON that means one thing: texts that two readers could understand differently are refused."""

from __future__ import annotations

import json
import marshal
from collections import Counter
from typing import Any


def parse_json(text: str, *, strict: bool = False) -> Any:
    """Return what a JSON text holds.

    `json.loads` alone takes the last of two equal keys, and it raises `RecursionError` for a text of
    brackets. Objects in the text that are equal are one here: they are not to be changed.

    Args:
        text: of any origin.
        strict: whether NaN, infinities, numbers beyond a double and halves of surrogate pairs are
            refused, as RFC 8259 does; then -0 and integers beyond 64 bits become floats, as in
            most other readers.

    Raises:
        ValueError: if the text is no JSON, gives a key twice, or is nested too deeply or too large to
            be read.

    Example:
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: the key 'a' appears twice
    """
    numbers: dict[str, Any] = {}
    if strict:
        numbers = {"parse_int": _whole, "parse_float": _finite, "parse_constant": _no_constant}
    try:
        data = json.loads(text, object_pairs_hook=_Objects(), **numbers)
        if strict and "\\u" in text:  # only an escape can make half of a pair of what was UTF-8
            json.dumps(data, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except MemoryError:
        raise ValueError("it is too large to be read") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair, which is not a character") from None
    return data


class _Objects:
    """Makes the objects of a text, and those that are equal once: a plan has few kinds of parameters.

    A million of objects would keep Python's garbage collector busy for longer than they take to read.
    """

    LARGE = 64  # fields, above which an object has no equal

    def __init__(self) -> None:
        self._met: dict[bytes, dict[str, Any]] = {}

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > self.LARGE:
            return _unique(pairs)
        same = marshal.dumps(pairs, 2)  # the fastest text that tells 1, 1.0 and true apart
        if (found := self._met.get(same)) is None:
            found = self._met[same] = _unique(pairs)
        return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!a:.80} appears twice")
    return data


def _whole(text: str) -> int | float:
    # Twenty characters hold every number of 64 bits; int() itself refuses some thousand digits.
    if len(text) <= 20 and text != "-0" and -(2**63) <= int(text) < 2**64:
        return int(text)
    return _finite(text)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:20]}... is out of range")
    return number


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")
