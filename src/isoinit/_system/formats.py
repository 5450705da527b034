"""JSON files of isoinit's own formats: a header names the format and its version.

A reader refuses another format or version, so that a file is never read as what it is not.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isoinit._system.schema import shown
from isoinit.errors import PlanError


@dataclass(frozen=True)
class Format:
    """A format of JSON objects.

    Attributes:
        key: the field of the header that names the format.
        name: what stands there.
        version: the one that this isoinit writes and reads.
        what: how errors call such an object: "plan".
        advice: what to do about another version.

    Example:
        >>> Format("format", "isoinit plan", 1, "plan", "make the plan again").header
        {'format': 'isoinit plan', 'version': 1}
    """

    key: str
    name: str
    version: int
    what: str
    advice: str

    @property
    def header(self) -> dict[str, Any]:
        """The fields with which every object begins."""
        return {self.key: self.name, "version": self.version}

    def parse(self, text: str) -> dict[str, Any]:
        """Return the object in a text.

        Raises:
            PlanError: if the text is not JSON (or was cut off), names something twice, is not of
                this format, or of another version.

        Objects in it that are equal are one, not to be changed.
        """
        try:
            data = json.loads(text, object_pairs_hook=_Shared())
        except (ValueError, RecursionError) as error:
            raise PlanError(
                f"the {self.what} is not JSON, or was cut off ({error}); expected what isoinit wrote"
            ) from None
        if not isinstance(data, dict) or data.get(self.key) != self.name:
            raise PlanError(
                f'not a {self.what}: expected a JSON object with "{self.key}": "{self.name}"'
            )
        version = data.get("version")
        if type(version) is not int or version != self.version:  # true equals 1
            raise PlanError(
                f"the {self.what} has version {shown(version)}, this isoinit reads "
                f"{self.version}; {self.advice}"
            )
        return data


class _Shared:
    """Makes the objects of a text, those that are equal once: a plan has few kinds of parameters.

    A million of objects would keep Python's garbage collector busy for longer than they take to read.
    """

    LARGE = 64  # fields, above which an object has no equal

    def __init__(self) -> None:
        self._met: dict[bytes, dict[str, Any]] = {}

    def __call__(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > self.LARGE:
            return _unique(pairs)
        same = marshal.dumps(pairs, 2)  # the fastest text that tells 1, 1.0 and true apart
        if (found := self._met.get(same)) is None:
            found = self._met[same] = _unique(pairs)
        return found


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, whose names differ: of two that are the same json would drop the first.

    Raises:
        ValueError: if a name stands there twice, as after a bad merge.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} stands twice in one object")
    return found
