"""Rows that are looked up: of tables that are not learned, clipped to a norm, and in bags."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.places import averaged, largest
from isoinit._planning.propagation.samples import SAMPLES, Signal, gaussian
from isoinit._reading.graph import Op


def chosen(context: Context, op: Op) -> Signal | None:
    """Return rows of a constant table, of the moments of all of it; None if these are not known."""
    if op.detail.constant is None:
        return None
    mean, second = op.detail.constant
    variance = max(second - mean**2, 0.0)
    alike = np.maximum(np.eye(3), share(mean, variance, op.detail.alike))
    noise = gaussian(context.rng, alike * variance)
    return Signal(noise.rows + mean, context.last_axis(op.outputs[0]))


def share(mean: float, variance: float, alike: float) -> float:
    """Return the part of a table's variance that its rows have in common, column by column.

    Sines and cosines of places have much in common, random rows have nothing.

    Args:
        mean: of its elements.
        variance: of its elements.
        alike: the mean product of two different rows in the same column.
    """
    return min(max(alike - mean**2, 0.0) / variance, 1.0) if variance > 0 else 0.0


def one_hot(context: Context, op: Op, _inputs: Sequence[Signal]) -> Signal | None:
    """Return rows of the identity: of n classes, one in n elements is one, the others are zero."""
    classes = context.graph.sizes[op.outputs[0]][-1]
    ones = max(round(SAMPLES / classes), 1)
    size = (SAMPLES / (classes * ones)) ** 0.5  # exact where n does not divide the samples
    rows = np.stack([context.rng.permutation(np.arange(SAMPLES) < ones) for _ in range(3)]) * size
    return Signal(rows, context.last_axis(op.outputs[0]))


def clipping(mean: float, variance: float, width: int, limit: float, norm: float) -> float:
    """Return what the root mean square of Gaussian rows is multiplied by if each is cut to a norm.

    A row of a norm above `limit` is divided down to it, as `torch.nn.Embedding(max_norm=...)` does.

    Args:
        mean: of the elements.
        variance: of the elements.
        width: how many elements a row has.
        limit: the largest norm.
        norm: which norm: 2 for the Euclidean one.
    """
    rng = np.random.default_rng(0)  # of its own: the walk's samples stay what they are
    rows = mean + math.sqrt(variance) * rng.standard_normal((max(2**18 // width, 16), width))
    second = mean**2 + variance
    rows *= math.sqrt(second / max(float(np.square(rows).mean()), 1e-300))
    norms = np.linalg.norm(rows, norm, axis=1, keepdims=True)
    cut = rows * np.minimum(1.0, limit / np.maximum(norms, 1e-300))
    return math.sqrt(float(np.square(cut).mean()) / second) if second else 1.0


def pooled(context: Context, op: Op, signal: Signal) -> Signal:
    """Return what one row is made of each bag; a sum is counted in the fan-in already."""
    if op.detail.pool == "mean":
        return averaged(context, signal, op.detail.window)
    if op.detail.pool == "max":
        return largest(context, signal, op.detail.window)
    return signal
