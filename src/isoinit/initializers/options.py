"""What the options of an initializer may be: finite numbers within bounds, as Python's own."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from numbers import Integral, Real

from isoinit.errors import ArgumentError


class Options:
    """Checks of the fields of a frozen dataclass, for its `__post_init__`."""

    def _require(
        self,
        name: str,
        *,
        low: float = -math.inf,
        high: float = math.inf,
        above: bool = False,
        whole: bool = False,
    ) -> None:
        """Refuse a field that is not a finite number in [low, high], or (low, high] if `above`.

        NumPy's numbers become Python's, so that the field can be compared, printed and saved.
        """
        value = getattr(self, name)
        number = as_number(value, whole=whole)
        if number is not None and low <= number <= high and not (above and number == low):
            object.__setattr__(self, name, number)
            return
        parts = [f"{'above' if above else 'at least'} {low:g}"] if low > -math.inf else []
        parts += [f"at most {high:g}"] if high < math.inf else []
        said = f"{'an integer' if whole else 'a finite number'} {' and '.join(parts)}".rstrip()
        one = ". Pass its .item()" if getattr(value, "shape", None) == () else ""
        raise ArgumentError(f"{type(self).__name__}({name}={value!r}): expected {said}{one}")

    def _require_all(self, name: str, *, above: float = -math.inf) -> None:
        """Make a field a tuple of finite numbers: a plan that was read from a file holds a list.

        Raises:
            ArgumentError: for anything else.
        """
        values = getattr(self, name)
        given = values.tolist() if hasattr(values, "tolist") else values
        known = isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping))
        numbers = [as_number(value) for value in given] if known else [None]
        if not all(number is not None and number > above for number in numbers):
            raise ArgumentError(
                f"{type(self).__name__}({name}={_shortened(values)}): expected finite numbers"
                + (f" above {above:g}" if math.isfinite(above) else "")
            )
        object.__setattr__(self, name, tuple(float(n) for n in numbers if n is not None))


def as_number(value: object, *, whole: bool = False) -> float | None:
    """Return a finite real number as Python's int or float; None for anything else, and for bool."""
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return None
    try:
        number = int(value) if isinstance(value, Integral) else float(value)
    except (OverflowError, ValueError):  # a fraction beyond float64; an integral NaN
        return None
    return number if abs(number) <= sys.float_info.max else None  # unlike isfinite, takes any int


def _shortened(values: object) -> str:
    """Return the text of values, cut where they are many."""
    text = repr(values)
    return text if len(text) <= 80 else f"{text[:80]}…"
