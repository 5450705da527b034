"""The value of a parameter at which what it is made into does nothing."""

from __future__ import annotations

import math
from collections.abc import Callable


def neutral_at(effect: Callable[[float], float], goal: float) -> float | None:
    """Return the value at which a scale or shift does nothing; None if that is not known.

    A gain is one, whatever constant the model multiplies it by; in 1 + w and exp(w) it is zero.

    Args:
        effect: what a parameter of this value all over is made into; NaN where that is not one number.
        goal: what does nothing: 1 of a scale, 0 of a shift.
    """
    low, middle, high = effect(0.0), effect(0.5), effect(1.0)
    if low == 0 and high and math.isclose(middle, high / 2, rel_tol=1e-5, abs_tol=1e-8):
        return goal
    return _solved(effect, goal)


def _solved(effect: Callable[[float], float], goal: float) -> float | None:
    """Return where a function that rises or falls between -16 and 16 is at a goal, to nine digits."""
    low, high = -16.0, 16.0
    ends = [effect(low) - goal, effect(high) - goal]
    if not all(map(math.isfinite, ends)) or ends[0] * ends[1] >= 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        if (effect(middle) - goal) * ends[0] > 0:
            low = middle
        else:
            high = middle
    return float(f"{(low + high) / 2:.9g}") if abs(low + high) > 1e-9 else 0.0
