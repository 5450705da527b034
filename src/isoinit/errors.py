"""Every error that isoinit raises on purpose.

Each message says which parameter or argument, what was found, what was expected, and what to do.

The names in it come from a model, and may hold anything: torch refuses an empty one and dots. An
escape sequence recolours a terminal, a line feed makes a line of its own in a log, marks of direction
show `gpj.` for `.jpg` (Boucher and Anderson 2021, "Trojan Source"), a lone surrogate cannot be
written. So they are `escaped` here, and wherever else text leaves for people. Where they are keys, in
plans and other JSON, they stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final
from unicodedata import category

# Controls, formats (marks of direction, zero width), surrogates, separators of lines and paragraphs.
_ESCAPED: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks that nothing is drawn for: what else is in Default_Ignorable_Code_Point (UAX #44),
# but for variation selectors, which belong to emoji.
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Of all letters, those in common: far names are shown where none is nearer, 'head.weight' for 'hed.*'.
_NEAR: Final = (0.8, 0.65, 0.5)


def escaped(text: str, keep: str = "") -> str:
    r"""Return text with each character escaped that is not seen or acts on others.

    Letters of all scripts, signs and emoji stay. What comes out comes out again unchanged.

    Args:
        text: any text.
        keep: characters that stay, such as the line feeds of a text of several lines.

    Example:
        >>> print(escaped("größe.中文"), escaped("a\x1b[31m"), escaped("b\u202e.c\nd\ud800"))
        größe.中文 a\x1b[31m b\u202e.c\nd\ud800
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if c not in keep and _is_escaped(c) else c for c in text
    )


def _is_escaped(character: str) -> bool:
    return category(character) in _ESCAPED or character in _BLANK


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """Return what an error about an unknown name ends with: a question, or "" if no name is near.

    Upper and lower case count as equal.

    Args:
        name: what was given.
        names: the names that there are.

    Example:
        >>> print("no function 'functoin'" + did_you_mean("functoin", ["build", "function"]))
        no function 'functoin'. Did you mean 'function'?
    """
    known = {known.casefold(): known for known in names}
    given = str(name).casefold()
    nearest = (get_close_matches(given, known, n=3, cutoff=cutoff) for cutoff in _NEAR)
    found = next(filter(None, nearest), [])
    if not found:
        return ""
    *others, last = (repr(known[name]) for name in found)
    return f". Did you mean {', '.join(others)}{' or ' * bool(others)}{last}?"


class IsoinitError(Exception):
    """The base of all errors that isoinit raises on purpose."""

    def __str__(self) -> str:  # not that of a base: KeyError's would be a repr
        return escaped(" ".join(map(str, self.args)), keep="\n")


class IsoinitWarning(UserWarning):
    """Something to know that does not stop the work."""

    def __str__(self) -> str:
        return escaped(super().__str__(), keep="\n")


class ArgumentError(IsoinitError, ValueError):
    """An argument is out of its range, or two arguments do not go together."""


class TraceError(IsoinitError, RuntimeError):
    """The model could not be run on the example that was given."""


class PlanError(IsoinitError, ValueError):
    """A plan does not fit the model, or a plan file cannot be read. Nothing was written."""


class RankError(IsoinitError, RuntimeError):
    """Ranks of a distributed run differ, or one of them failed. Nothing was written."""


class UnknownParameterError(IsoinitError, KeyError):
    """A name that no parameter has, or a pattern that matches none."""

    def __init__(
        self,
        name: str,
        known: Iterable[str],
        kind: str = "parameter is called",
        among: int | None = None,
    ) -> None:
        names = list(known)
        among = len(names) if among is None else among
        few = f": they are {', '.join(map(repr, names))}" if len(names) <= 8 else ""
        super().__init__(f"no {kind} {name!r} among {among}{did_you_mean(name, names) or few}")


class UnhealthyError(IsoinitError, RuntimeError):
    """A check found at least one error; the message lists them."""


class Interrupted(KeyboardInterrupt):
    """SIGINT stopped a run that leaves something: what was done until then is kept.

    Attributes:
        done: what was done: of `Plan.apply` the names of the parameters that are filled, and of
            `isoinit.compare` the `Comparison` so far.
    """

    def __init__(self, message: str, done: Any) -> None:
        super().__init__(message)
        self.done = done


class CheckpointError(IsoinitError, RuntimeError):
    """A checkpoint could not be written to its end; what is whole of it is kept."""


class PackageError(IsoinitError, ImportError):
    """A package that only a part of isoinit needs is not installed."""
