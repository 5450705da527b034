"""Which numbers an optimizer takes."""

from __future__ import annotations

import math
from numbers import Real

from isoinit._system.schema import shown
from isoinit.errors import ArgumentError


def require_range(name: str, value: object, *, above: bool = False) -> None:
    """Raise `ArgumentError` for what is no finite number of at least 0, or above it."""
    if not isinstance(value, bool) and isinstance(value, Real):
        found = float(value)
        if (found > 0 if above else found >= 0) and found < math.inf:
            return
    wanted = f"a finite number {'above 0' if above else 'of 0 or more'}"
    raise ArgumentError(f"{name}={shown(value)}: expected {wanted}")
