"""Constants of a model: how many of their values are looked at, and which, in every framework."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MOST = 1 << 20  # elements of a constant that are looked at
SAMPLED = 4096  # values of a constant that the propagation draws from
WAVES = frozenset({"cos", "sin"})  # of places, whose square is a half on average
GOLDEN = (5**0.5 - 1) / 2


def places(count: int) -> npt.NDArray[np.int64]:
    """Return one place in each of `SAMPLED` equal parts of a flat array of `count` elements.

    Where in its part each place lies follows the golden ratio, so that the places keep step with no
    axis of the array: every eighth element of rows of 64 would see eight columns alone.
    """
    parts = np.arange(SAMPLED, dtype=np.float64)
    return ((parts + parts * GOLDEN % 1) * (count / SAMPLED)).astype(np.int64)
