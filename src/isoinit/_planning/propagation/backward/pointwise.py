"""Gradients behind functions of single elements, and behind sums and products with constants."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isoinit._planning.propagation.backward import places
from isoinit._planning.propagation.backward.gradient import (
    Backward,
    Gradient,
    aligned,
    summed,
    unknown,
)
from isoinit._planning.propagation.samples import SAMPLES, part
from isoinit._reading.graph import SUMS, Array, Op, ReplayError, pull_back

EXTREMES = frozenset({"amax", "amin", "max", "min"})


def elementwise(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the exact gradient at the samples of the inputs, summed where an input was broadcast."""
    if op.name in EXTREMES and len(op.inputs) == 1:
        return places.picked(back, op, gradient)
    if op.uses:  # what its parameters do was undone before
        found: list[Gradient | None] = [gradient, *[None] * (len(op.inputs) - 1)]
    elif op.replay is None and op.mixed is None:
        found = _with_constant(op, gradient)
    else:
        found = _pulled(back, op, gradient)
    if op.chance != 1.0:
        found = [g and g.times(math.sqrt(op.chance)) for g in found]
    pairs = zip(op.inputs, found, strict=True)
    return [g and _gathered(back, g, value, op.outputs[0]) for value, g in pairs]


def glu(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradient behind `F.glu`: of both halves of the units, the signal and its gate."""
    signal = back.context.signals.get(op.inputs[0])
    if signal is None:
        return unknown(op)
    rows, gate = signal.rows[0], part(signal, 1).rows[0]
    opened = 1 / (1 + np.exp(-gate))
    own = Gradient(gradient.row * opened, gradient.near * float(opened.mean()) ** 2)
    other = Gradient(gradient.row * rows * opened * (1 - opened))
    return [own.plus(aligned(other, gate, rows)).times(math.sqrt(0.5))]


def _pulled(back: Backward, op: Op, gradient: Gradient) -> list[Gradient | None]:
    """Return the gradients of an operation's replay at the samples of its inputs."""
    signals = [back.typed(value) for value in op.inputs]
    if op.name in SUMS:  # the gradient of a sum depends on no signal
        signals = [gradient.row if rows is None else rows for rows in signals]
    rows = [row for row in signals if row is not None]
    known = op.name in SUMS or op.outputs[0] in back.context.signals
    pull = op.pull if op.mixed is None else op.mixed.pull
    if pull is None or len(rows) < len(signals) or not known:
        return [*unknown(op)]
    rows += [np.resize(table, SAMPLES) for table in op.mixed.rows] if op.mixed else []
    try:
        found = pull_back(op, pull, rows, gradient.row)[: len(op.inputs)]
    except ReplayError:
        return [*unknown(op)]
    near = [0.0] * len(found)
    if gradient.near:
        alike = max(back.alike(value) for value in op.inputs)
        near = [gradient.near * _shared(row, gradient, alike) for row in found]
    return [Gradient(row, product) for row, product in zip(found, near, strict=True)]


def _shared(row: Array, by: Gradient, alike: float) -> float:
    """Return the mean product of a slope at two places, from the gradients behind and before it."""
    mean = float(row @ by.row) / SAMPLES / by.second if by.second else 0.0
    square = float(row @ row) / SAMPLES / by.second if by.second else 0.0
    return mean**2 + alike * max(square - mean**2, 0.0)


def _with_constant(op: Op, gradient: Gradient) -> list[Gradient | None]:
    """Return the gradients behind a sum or product with a constant tensor; unknown behind all else."""
    if len(op.inputs) != 1 or op.name not in (*SUMS, "mul", "div", "where", "masked_scatter"):
        return unknown(op)
    if op.name != "mul" or op.detail.constant is None:
        return [gradient]
    mean, square = op.detail.constant
    return [gradient.times(math.copysign(math.sqrt(square), mean or 1.0))]


def _gathered(back: Backward, gradient: Gradient, before: int, after: int) -> Gradient:
    """Return the sum over the axes along which an input was broadcast to the size of the output.

    What a mask selected was not broadcast: its gradient is that of the few elements that it went to.
    """
    small, large = back.size(before), back.size(after)
    if small == large or len(small) > len(large):
        return gradient
    small = (1,) * (len(large) - len(small)) + small
    if any(n not in (1, whole) for n, whole in zip(small, large, strict=True)):
        return gradient.times(math.sqrt(math.prod(large) / max(math.prod(small), 1)))
    spread = [axis for axis, n in enumerate(small) if n == 1 < large[axis]]
    signal = back.context.signals.get(after)
    units = signal.units if signal is not None else frozenset()
    examples = {0} if len(large) > 1 and 0 not in units else set()
    over = math.prod(large[axis] for axis in spread if axis in units)
    places = math.prod(large[axis] for axis in spread if axis not in (*units, *examples))
    batch = math.prod(large[axis] for axis in spread if axis in examples)
    gradient = summed(gradient, places).times(math.sqrt(batch))
    if over == 1:
        return gradient
    mean = float(gradient.row.mean())
    others = back.noise(
        (over - 1) * max(gradient.second - mean**2, 0.0), gradient.near * (over - 1)
    )
    return Gradient(gradient.row + (over - 1) * mean).plus(others)
