"""What the pages of the reference show otherwise than it stands in the code."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Shown(griffe.Extension):
    """Examples as code, and defaults as a caller sees them."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """`Example:` as a section of code: griffe knows it by its plural alone."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:", obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """`cast("float", None)` as None."""
        if str(attr.value or "").startswith("cast("):
            attr.value = "None"
