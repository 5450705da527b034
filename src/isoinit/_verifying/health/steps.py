"""The first step of training, and other numbers that torch's and NumPy's measuring share."""

from __future__ import annotations

import math

STEP = 1e-3  # Adam's usual first step; of plain gradients, by the size of all weights
EPSILON = 1e-8  # what Adam adds to the root of the second moment (Kingma & Ba 2015, algorithm 1)
ROUNDING = 1e-4  # of a gradient: sums of some thousand products in another order differ by less
PROBES = 16  # random vectors that the effective rank is estimated with
BINS = 32  # of a histogram
COUNTED = 16384  # values at most, at even distances: more cost time and change no picture
BITS = 40  # rows that hold less than this may be the same by chance: one pair in 2^40


def relative_step(gradient: float | None, rms: float, lr: float, optimizer: str) -> float | None:
    """Return how far the first step moves a parameter, relative to its size.

    SGD moves it by lr·g; Adam, whose moments start at zero and are corrected for that, by
    lr·g/(|g| + ε): by lr, however small the gradient (Kingma & Ba 2015, section 2.1).
    """
    if gradient is None or rms == 0 or not math.isfinite(rms):
        return None
    step = gradient / (gradient + EPSILON) if optimizer == "adam" else gradient
    return lr * step / rms
