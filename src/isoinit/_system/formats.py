"""JSON files of isoinit's own formats: a header names the format and its version.

A reader refuses another format or version, so that a file is never read as what it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isoinit._system.json_text import parse_json
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
            PlanError: if the text is not JSON (or was cut off, or names something twice), not of this
                format, or of another version.
        """
        try:
            data = parse_json(text)
        except ValueError as error:
            raise PlanError(
                f"the {self.what} is not valid JSON ({error}); expected a file written by isoinit"
            ) from None
        if not isinstance(data, dict) or data.get(self.key) != self.name:
            raise PlanError(
                f'not a {self.what}: expected a JSON object with "{self.key}": "{self.name}"'
            )
        version = data.get("version")
        if type(version) is not int or version != self.version:  # true equals 1
            raise PlanError(
                f"the {self.what} has version {shown(version)}, but this isoinit reads version "
                f"{self.version}: {self.advice}"
            )
        return data
