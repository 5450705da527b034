"""Functions of single elements, replayed on the samples, and sums and products with constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import ACROSS, HERE, Signal, gaussian, part, put_right
from isoinit._reading.graph import Op, replay


def elementwise(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return what a function of single elements gives; None if the operation is none."""
    sizes = context.graph.sizes
    rank = len(sizes.get(op.outputs[0], ()))
    units = frozenset(
        axis + rank - len(sizes.get(value, ()))
        for value, signal in zip(op.inputs, inputs, strict=True)
        for axis in signal.units
    )
    sides = [
        _same_everywhere(context, op, value, signal)
        for value, signal in zip(op.inputs, inputs, strict=True)
    ]
    rows = [signal.rows for signal in sides]
    if op.uses:
        return Signal(rows[0], units)
    if op.replay is None:
        return _with_constant(context, op, inputs, units)
    flat = [row.ravel() for row in rows]
    whole = replay.elementwise(op.apply, flat, [slice(48)], rtol=1e-6, atol=1e-9)
    if whole is None:
        return None
    found = np.asarray(whole, np.float64).reshape(rows[0].shape)
    if op.name in ("add", "sub", "mul") and len(inputs) == 2:
        found = put_right(op.name, found, *sides)
    return Signal(found, units)


def _same_everywhere(context: Context, op: Op, value: int, signal: Signal) -> Signal:
    """Return an input's signal; one of a single place that is spread over places is one at all."""
    before, after = (context.graph.sizes.get(v, ()) for v in (value, op.outputs[0]))
    axes = {axis - len(before) for axis in signal.units} | {-len(after)}  # units, examples
    places = [axis for axis in range(-len(after), 0) if axis not in axes]
    sizes = [before[axis] if -axis <= len(before) else 1 for axis in places]
    if max(sizes, default=1) > 1 or all(after[axis] == 1 for axis in places):
        return signal
    return replace(signal, rows=signal.rows[[HERE, HERE, ACROSS]])


def glu(_context: Context, _op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return `F.glu`: one half of the units, gated by the sigmoid of the other."""
    signal, gate = inputs[0], part(inputs[0], 1)
    return replace(signal, rows=signal.rows / (1 + np.exp(-gate.rows)))


def _with_constant(
    context: Context, op: Op, inputs: Sequence[Signal], units: frozenset[int]
) -> Signal | None:
    """Return a sum or product with a constant tensor, of which the moments may be known."""
    rows, known = inputs[0].rows, op.detail.constant
    sums = ("add", "sub", "mul")
    if len(inputs) != 1 or op.name not in (*sums, "div", "where", "masked_scatter"):
        return None
    if known is None or op.name not in sums:
        return Signal(rows, units)
    mean, square = known
    if op.name == "mul":
        return Signal(rows * math.copysign(math.sqrt(square), mean or 1.0), units)
    alike = np.array([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]) * max(square - mean**2, 0.0)
    return Signal(rows + mean + gaussian(context.rng, alike).rows, units)
