"""Rows that the example chooses: of a table that is not learned, or of the identity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import SAMPLES, Signal, gaussian
from isoinit._reading.graph import Op


def chosen(context: Context, op: Op) -> Signal | None:
    """Return rows of a constant table, of the moments of all of it; None if these are not known."""
    if op.detail.constant is None:
        return None
    mean, second = op.detail.constant
    noise = gaussian(context.rng, np.eye(3) * max(second - mean**2, 0.0))
    return Signal(noise.rows + mean, context.last_axis(op.outputs[0]))


def one_hot(context: Context, op: Op, _inputs: Sequence[Signal]) -> Signal | None:
    """Return rows of the identity: of n classes, one in n elements is one, the others are zero."""
    classes = context.graph.sizes[op.outputs[0]][-1]
    ones = max(round(SAMPLES / classes), 1)
    size = (SAMPLES / (classes * ones)) ** 0.5  # exact where n does not divide the samples
    rows = np.stack([context.rng.permutation(np.arange(SAMPLES) < ones) for _ in range(3)]) * size
    return Signal(rows, context.last_axis(op.outputs[0]))
