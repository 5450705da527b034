"""Which parameters a pattern means, and which initializer each of them gets."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from isoinit._planning.charts import in_step
from isoinit._writing.entry import Entry
from isoinit.errors import ArgumentError, IsoinitError, UnknownParameterError
from isoinit.initializers import Assigned, Initializer

ROLE = "role:"
WILD = frozenset("*?[")


def choose_overrides(
    overrides: Mapping[str, Initializer], roles: Mapping[str, str], aliases: Mapping[str, str]
) -> dict[str, tuple[str, Initializer]]:
    """What each parameter that is meant gets, and by which pattern.

    Args:
        overrides: initializers by pattern: a name, a glob of names such as "*.bias", or "role:" and
            a role or a glob of roles. A name that exists is never read as a glob, and decides over
            all globs and roles that match it too.
        roles: the role of every parameter, by name.
        aliases: for each further name of a tied parameter, the name that it goes by.

    Raises:
        ArgumentError: if this is no mapping from text to initializers, or two patterns give one
            parameter different initializers.
        UnknownParameterError: for a pattern that matches nothing.

    Example:
        >>> from isoinit import Ones, Zeros
        >>> roles = {"a.weight": "embedding", "a.bias": "bias", "b.bias": "bias"}
        >>> choose_overrides({"*.bias": Zeros(), "b.bias": Ones()}, roles, {})
        {'b.bias': ('b.bias', Ones()), 'a.bias': ('*.bias', Zeros())}
    """
    _refuse_other_kinds(overrides)
    found = {pattern: _matches(pattern, roles, aliases) for pattern in overrides}
    exact = {pattern for pattern in overrides if pattern in roles or pattern in aliases}
    chosen: dict[str, tuple[str, Initializer]] = {}
    # Names come first, so that a pattern finds them taken.
    for pattern in sorted(overrides, key=lambda pattern: pattern not in exact):
        for name in found[pattern]:
            earlier, initializer = chosen.setdefault(name, (pattern, overrides[pattern]))
            if initializer == overrides[pattern] or (earlier in exact) > (pattern in exact):
                continue
            raise ArgumentError(
                f"{earlier!r} gives {name!r} {initializer!r} and {pattern!r} gives it "
                f"{overrides[pattern]!r}; nothing was changed. Let only one pattern match, or "
                "override the parameter by its full name: a name comes before globs and roles"
            )
    return chosen


def overridden(
    entries: Mapping[str, Entry], aliases: Mapping[str, str], overrides: Mapping[str, Initializer]
) -> dict[str, Entry]:
    """Return the entries of a plan with other initializers: see `Plan.override`.

    Raises:
        UnknownParameterError, ArgumentError: as there.
    """
    roles = {entry.name: entry.role for entry in entries.values()}
    changed: dict[str, Entry] = {}
    for name, (pattern, new) in choose_overrides(overrides, roles, aliases).items():
        new = new.for_parameter(name)
        held = entries[name].initializer
        if isinstance(held, Assigned) and held.of == name:
            new = replace(held, base=new)  # the choice is the weight's
        try:
            entries[name].require_fit(new)
        except IsoinitError as error:
            raise ArgumentError(
                f"the override of {pattern!r} does not fit {name!r}: {error}; nothing was changed"
            ) from None
        by = "" if pattern in entries or pattern in aliases else f" for {pattern!r}"
        changed[name] = replace(
            entries[name],
            initializer=new,
            reason=f"set by hand{by}",
            source="your choice",
            expected=None,
            expected_gradient=None,
            target=None,
            rule="",
            close=(),
            kept="",
            copies="",
        )
    for name, entry in entries.items():
        if entry.copies in changed and name not in changed:
            of = changed[entry.copies]
            changed[name] = replace(entry, initializer=of.initializer, layout=of.layout)
    return in_step({**entries, **changed})


def match_patterns(
    patterns: Collection[str], roles: Mapping[str, str], aliases: Mapping[str, str]
) -> dict[str, str]:
    """The pattern that decides for each parameter: its name, or else the first that matches.

    Args:
        patterns: as the keys of `choose_overrides`.
        roles: as there.
        aliases: as there.

    Raises:
        ArgumentError: for a pattern that is no text.
        UnknownParameterError: for one that matches nothing.

    Example:
        >>> match_patterns(["*.bias", "*", "b.bias"], {"a.bias": "", "b.bias": "", "c": ""}, {})
        {'b.bias': 'b.bias', 'a.bias': '*.bias', 'c': '*'}
    """
    for pattern in patterns:
        _refuse_other_key(pattern)
    found = {pattern: _matches(pattern, roles, aliases) for pattern in patterns}
    decides: dict[str, str] = {}
    for pattern in sorted(patterns, key=lambda p: p not in roles and p not in aliases):
        for name in found[pattern]:
            decides.setdefault(name, pattern)
    return decides


def _refuse_other_kinds(overrides: Mapping[str, Initializer]) -> None:
    if not isinstance(overrides, Mapping):
        raise ArgumentError(
            f"overrides is a {type(overrides).__name__}; expected a dict with names, globs or "
            'roles as keys and initializers as values, such as {"*.bias": isoinit.Zeros()}'
        )
    for pattern, initializer in overrides.items():
        _refuse_other_key(pattern)
        if not isinstance(initializer, Initializer):
            raise ArgumentError(
                f"the override of {pattern!r} is {initializer!r}; expected an initializer such as "
                "isoinit.Zeros()"
            )


def _refuse_other_key(pattern: object) -> None:
    if not isinstance(pattern, str):
        raise ArgumentError(
            f"found the key {pattern!r}; expected the name of a parameter, a glob such as "
            '"*.bias", or a role such as "role:embedding"'
        )


def _matches(pattern: str, roles: Mapping[str, str], aliases: Mapping[str, str]) -> Collection[str]:
    """The parameters that a pattern means, each by the name that it goes by.

    Raises:
        UnknownParameterError: if there are none.
    """
    names = [*roles, *aliases]
    if pattern in roles or pattern in aliases:
        return [aliases.get(pattern, pattern)]
    if pattern.startswith(ROLE):
        role = pattern.removeprefix(ROLE)
        found = [name for name, its in roles.items() if its == role or fnmatchcase(its, role)]
        if not found:
            raise UnknownParameterError(role, dict.fromkeys(roles.values()), "role is or matches")
        return found
    globbed = not WILD.isdisjoint(pattern)
    found = [name for name in names if fnmatchcase(name, pattern)] if globbed else []
    if not found:
        if globbed:
            raise UnknownParameterError(pattern, _globs(names), "parameter matches", len(names))
        raise UnknownParameterError(pattern, names)
    return dict.fromkeys(aliases.get(name, name) for name in found)


def _globs(names: Iterable[str]) -> list[str]:
    """Return globs that match some of the names: what may have been meant by one that matches none."""
    found: dict[str, None] = {}
    for name in dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names):
        parts = name.split(".")
        for cut in range(1, len(parts)):
            found[f"{'.'.join(parts[:cut])}.*"] = None
            found[f"*.{'.'.join(parts[cut:])}"] = None
        found[name] = None
    return list(found)
