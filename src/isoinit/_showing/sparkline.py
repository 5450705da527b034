"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
DECADES = 12  # of a log scale: what is smaller by more looks all the same


def sparkline(
    values: Sequence[float | None],
    width: int,
    *,
    low: float | None = None,
    high: float | None = None,
    log: bool = True,
) -> str:
    """A curve as bars of eight heights; a gap where there is no value.

    Zero on a log scale is `_`, what is infinite or no number `!`.

    Args:
        values: from left to right; more than `width` are taken at even distances, the first and the
            last among them.
        width: of the line, in characters, at most.
        low: the lower end of the scale, by default that of the values. Curves that stand beside each
            other are drawn on one scale.
        high: the upper end.
        log: whether each bar stands for a factor, not a distance.

    Example:
        >>> sparkline([1, 10, 100, 1000], 4)
        '▁▃▆█'
        >>> sparkline([1.0, 1.0, None, 0.0, float("nan")], 8)
        '▄▄ _!'
    """
    shown = [values[i] for i in _evenly(len(values), width)]
    finite = [abs(v) for v in values if v is not None and math.isfinite(v) and (v or not log)]
    low = min(finite, default=1.0) if low is None else low
    high = max(finite, default=1.0) if high is None else high
    if log:
        low = max(low, high * 10.0**-DECADES)
    return "".join(_bar(value, low, high, log) for value in shown)


def _evenly(count: int, width: int) -> list[int]:
    if count <= width:
        return list(range(count))
    return [round(i * (count - 1) / max(width - 1, 1)) for i in range(width)]


def _bar(value: float | None, low: float, high: float, log: bool) -> str:
    if value is None:
        return " "
    if not math.isfinite(value):
        return "!"
    if log and value == 0:
        return "_"
    scale = (lambda x: math.log(abs(x))) if log else float
    value = min(max(abs(value) if log else value, low), high)
    size = scale(high) - scale(low)
    # Noise is no trend: less than a factor of two, or no distance at all, is drawn flat.
    if size < (math.log(2) if log else 1e-12):
        return BARS[3]
    return BARS[min(int((scale(value) - scale(low)) / size * len(BARS)), len(BARS) - 1)]
