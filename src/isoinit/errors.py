"""Every error that isoinit raises on purpose.

Each message says which parameter or argument, what was found, what was expected, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class IsoinitError(Exception):
    """The base of all errors that isoinit raises on purpose."""


class IsoinitWarning(UserWarning):
    """Something to know that does not stop the work."""


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

    def __init__(self, name: str, known: Iterable[str], kind: str = "parameter is called") -> None:
        names = list(known)
        nearest = get_close_matches(name, names, n=3, cutoff=0.4)
        if nearest:
            hint = f"the nearest are {', '.join(map(repr, nearest))}"
        else:
            few = len(names) <= 8
            hint = f"they are {', '.join(map(repr, names))}" if few else "none is near"
        super().__init__(f"no {kind} {name!r} among {len(names)}: {hint}")

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return str(self.args[0])


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
