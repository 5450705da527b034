"""Reads `Example:` of a docstring as the section of code that it is, not as a box of prose."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Examples(griffe.Extension):
    """Griffe knows the section by its plural alone."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Put the plural there, for each object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
