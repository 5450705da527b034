"""What norm layers make of a signal."""

from __future__ import annotations

import math

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import ACROSS, HERE, NEARBY, Signal, gaussian, replace
from isoinit._reading.graph import Op


def normed(context: Context, op: Op, signal: Signal | None) -> Signal | None:
    """Return a signal of a norm layer's size, whatever came in, also where that is not known.

    That is a second moment of 1, or of 1/n where it divides by the length of n elements.
    """
    if signal is not None and not op.detail.live:
        return signal
    return _sized(
        context, op, unit(context, op) if signal is None else _normed(context, op, signal)
    )


def _sized(context: Context, op: Op, signal: Signal) -> Signal:
    second = context.graph.second_of_norm(op)
    return signal if second == 1 else replace(signal, rows=signal.rows * math.sqrt(second))


def _normed(context: Context, op: Op, signal: Signal) -> Signal:
    """Return a signal of unit second moment."""
    rows = signal.rows
    if op.name == "batch_norm":  # what all examples share is taken away
        shared = min(signal.products[HERE, ACROSS], 0.99 * signal.second)
        left = signal.second - shared
        near = (signal.products[HERE, NEARBY] - shared) / left if left else 1.0
        places = np.array([[1.0, near, 0], [near, 1, 0], [0, 0, 1]])
        return gaussian(context.rng, places, signal.units)
    if op.name != "rms_norm":
        rows = rows - rows.mean(1, keepdims=True)
    rows = rows / np.sqrt(np.square(rows).mean(1, keepdims=True) + 1e-12)
    return replace(signal, rows=rows, shares=0)  # normed weights of a softmax sum to one no more


def normed_in_steps(context: Context, op: Op, signal: Signal | None) -> Signal:
    """Return the same for a norm layer that the model spells out in single operations."""
    if signal is None or not signal.second:
        return _sized(context, op, unit(context, op))
    return _sized(context, op, replace(signal, rows=signal.rows / signal.rms, shares=0))


def unit(context: Context, op: Op) -> Signal:
    """Return what a norm layer makes of a signal that is not known: unit size."""
    batch = op.name in ("batch_norm", "instance_norm", "group_norm")
    units = frozenset({1}) if batch else context.last_axis(op.outputs[0])
    return gaussian(context.rng, np.eye(3), units)
