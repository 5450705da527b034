"""The initializations that are compared, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from isoinit._planning import rules
from isoinit.errors import ArgumentError, did_you_mean

Own = TypeVar("Own", bound=Callable[..., Any])

METHODS = ("default", "plan", *(name for name in rules.METHODS if name != "auto"))
"""`default`, what the model has by itself; `plan`, what isoinit chooses; the eight methods."""


def resolve_methods(
    methods: Iterable[str] | Mapping[str, str | Own], takes: str
) -> dict[str, str | Own]:
    """Return the methods to compare, by name.

    Args:
        methods: as for `isoinit.compare`.
        takes: what a function of the user's own takes, in words.

    Raises:
        ArgumentError: for a name of no method, or nothing to compare.
    """
    if isinstance(methods, str):
        raise ArgumentError(f"methods={methods!r}: expected a list of names, such as [{methods!r}]")
    chosen = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods}
    for name, method in chosen.items():
        if not callable(method) and method not in METHODS:
            raise ArgumentError(
                f"methods: {name!r} is {method!r}; expected one of {', '.join(METHODS)}, or a "
                f"function of {takes}{did_you_mean(method, METHODS)}"
            )
    if not chosen:
        raise ArgumentError("methods is empty: expected at least one, such as 'plan'")
    return chosen
