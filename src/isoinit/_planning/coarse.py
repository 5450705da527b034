"""Measured moments, rounded: a plan is the same wherever it is made."""

from __future__ import annotations

import math

from isoinit._reading.graph import Given

STEPS = 32  # a second moment is rounded to a 32nd of an octave: 2 %
PARTS = 256  # what it is compared with is rounded to as many parts of it


def coarse(given: Given) -> Given:
    """Return moments rounded so that rounding errors of float32 do not reach them.

    Those are about 1e-7 of a second moment. A number that lies as close as that to the middle between
    two steps is rounded either way: about one in 10⁵.
    """
    if not given.second > 0:
        return Given(0.0, 0.0, 0.0, 0.0)
    second = 2.0 ** (round(STEPS * math.log2(given.second)) / STEPS)

    def share(part: float) -> float:
        return round(PARTS * part) / PARTS

    mean = share(given.mean / math.sqrt(given.second)) * math.sqrt(second)
    nearby, across = (share(m / given.second) * second for m in (given.nearby, given.across))
    return Given(mean, second, nearby, across)
