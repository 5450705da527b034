"""The first step of training, and what else torch's and NumPy's measuring share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from isoinit.initializers.scale.fans import Layout

ROWS = 256  # of an output, to tell how many directions its examples take
VALUES = 4096  # of an output, to tell how many are saturated
STEP = 1e-3  # Adam's usual first step; of plain gradients, by the size of all weights
EPSILON = 1e-8  # what Adam adds to the root of the second moment (Kingma & Ba 2015, algorithm 1)
ROUNDING = 1e-4  # of a gradient: sums of some thousand products in another order differ by less
PROBES = 16  # random vectors that the effective rank is estimated with
BINS = 32  # of a histogram
COUNTED = 16384  # values at most, at even distances: more cost time and change no picture
BITS = 40  # rows that hold less than this may be the same by chance: one pair in 2^40


def is_one_unit(layout: Layout, size: Sequence[int]) -> bool:
    """Return whether an output has no axis of units, as behind a product with a vector.

    Its last axis holds places then, such as the edges of a graph.

    Args:
        layout: of the weight.
        size: of the output.
    """
    units = math.prod(layout.grid[axis] for axis in layout.out)
    return units == 1 and len(size) > 0 and size[-1] != 1


def relative_step(gradient: float | None, rms: float, lr: float, optimizer: str) -> float | None:
    """Return how far the first step moves a parameter, relative to its size.

    SGD moves it by lr·g; Adam, whose moments start at zero and are corrected for that, by
    lr·g/(|g| + ε): by lr, however small the gradient (Kingma & Ba 2015, section 2.1).
    """
    if gradient is None or rms == 0 or not math.isfinite(rms):
        return None
    step = gradient / (gradient + EPSILON) if optimizer == "adam" else gradient
    return lr * step / rms


@lru_cache(maxsize=64)  # the layers of a model have few sizes
def places(total: int) -> npt.NDArray[np.int64]:
    """Return about `ROWS` of more places, in order, at equal steps."""
    golden = (math.sqrt(5) - 1) / 2  # no period of the batch's axes falls in with its multiples
    found = np.unique((np.arange(1, ROWS + 1) * golden % 1.0 * total).astype(np.int64))
    found.flags.writeable = False
    return found
