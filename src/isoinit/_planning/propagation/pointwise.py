"""Functions of single elements, replayed on the samples, and sums and products with constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import SAMPLES, Signal, gaussian, part, put_right
from isoinit._reading.graph import LAYERS, SUMS, Array, Op, ReplayError, elementwise, run_ops

NEAR = 4  # operations: as far as a stack stands before what is taken of it


def pointwise(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return what a function of single elements gives; None if the operation is none."""
    units = _units(context, op, inputs)
    if op.uses:
        return Signal(inputs[0].rows, units)
    if op.replay is None:
        return _with_constant(context, op, inputs, units)
    try:
        found = _replayed(lambda rows: run_one(op, rows), inputs)
    except ReplayError:
        return _with_those_before(context, op, units)
    if op.name in ("add", "sub", "mul") and len(inputs) == 2:
        found = replace(found, rows=put_right(op.name, found.rows, *inputs))
    return replace(found, units=units)


def glu(_context: Context, _op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return `F.glu`: one half of the units, gated by the sigmoid of the other."""
    signal, gate = inputs[0], part(inputs[0], 1)
    return replace(signal, rows=signal.rows / (1 + np.exp(-gate.rows)))


def run_one(op: Op, rows: Sequence[Array]) -> Array:
    """Return the first output of an operation from rows in place of its inputs."""
    return run_ops((op,), dict(zip(op.inputs, rows, strict=True)))[op.outputs[0]]


def _units(context: Context, op: Op, inputs: Sequence[Signal]) -> frozenset[int]:
    """Return the axes of an operation's output along which its inputs have their units."""
    sizes = context.graph.sizes
    rank = len(sizes.get(op.outputs[0], ()))
    return frozenset(
        axis + rank - len(sizes.get(value, ()))
        for value, signal in zip(op.inputs, inputs, strict=True)
        for axis in signal.units
    )


def _replayed(
    function: Callable[[Sequence[Array]], Array], inputs: Sequence[Signal], *tables: Array
) -> Signal:
    """Return a function of samples, which is elementwise.

    Raises:
        ReplayError: if it is not.
    """
    flat = [*(signal.flat for signal in inputs), *(table.ravel() for table in tables)]
    whole = elementwise(function, flat, rtol=1e-6, atol=1e-9)
    rows = whole.astype(np.float64).reshape(inputs[0].rows.shape)
    return Signal(rows, frozenset(), dtype=whole.dtype)


def _with_those_before(context: Context, op: Op, units: frozenset[int]) -> Signal | None:
    """Return what an operation and some right before it make of single elements together.

    Such as the largest of a stack of functions: `stack([x, 0.1 * x]).amax(0)`.
    """
    graph, signals = context.graph, context.signals
    steps, waiting = [op], set(op.inputs)
    while len(steps) <= NEAR:
        maker = graph.producers.get(newest := max(waiting))
        if maker is None or maker.uses or maker.kind in (*LAYERS, "norm"):
            return None
        steps.insert(0, maker)
        waiting = waiting - {newest} | set(maker.inputs)
        order = sorted(waiting)
        if any(value not in signals for value in order):
            return None

        def together(rows: Sequence[Array], order: list[int] = order) -> Array:
            return run_ops(steps, dict(zip(order, rows, strict=True)))[op.outputs[0]]

        try:
            found = _replayed(together, [signals[value] for value in order])
        except ReplayError:  # one step more may do
            continue
        return replace(found, units=units)
    return None


def _with_constant(
    context: Context, op: Op, inputs: Sequence[Signal], units: frozenset[int]
) -> Signal | None:
    """Return an operation on constant tensors of several values, or of values that are not known.

    Of sums and products the moments of the constant are enough. A mask on scores is left out: what
    it hides is no part of their size. What is not known is taken for noise or a mask, and left out.
    """
    rows, known = inputs[0].rows, op.detail.constant
    if op.name in (*SUMS, "mul") and len(inputs) == 1 and known is not None:
        mean, square = known
        if op.name == "mul":
            return Signal(rows * math.copysign(math.sqrt(square), mean or 1.0), units)
        if op.detail.causal:
            return Signal(rows, units)
        alike = np.array([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]) * max(square - mean**2, 0.0)
        return Signal(rows + mean + gaussian(context.rng, alike).rows, units)
    if op.mixed is None or op.detail.causal or _makes_scores(context, op):
        left_out = op.name in (*SUMS, "mul", "div", "where", "masked_scatter")
        return Signal(rows, units) if left_out and len(inputs) == 1 else None
    mixed = replace(op, replay=op.mixed.replay, inputs=(*op.inputs, *range(-len(op.mixed.rows), 0)))
    tables = [_table(context, values) for values in op.mixed.rows]
    try:
        found = _replayed(lambda given: run_one(mixed, given), inputs, *tables)
    except ReplayError:
        return None
    return replace(found, units=units)


def _table(context: Context, values: Array) -> Array:
    """Return samples of a constant tensor: the same for all examples, others at other places."""
    here, nearby = (np.resize(values, SAMPLES)[context.rng.permutation(SAMPLES)] for _ in range(2))
    return np.stack([here, nearby, here])


def _makes_scores(context: Context, op: Op) -> bool:
    """Return whether a softmax reads what an operation makes, perhaps after other small steps."""
    waiting = list(op.outputs)
    for _ in range(NEAR):
        readers = [r for value in waiting for r in context.graph.consumers.get(value, [])]
        if any("softmax" in reader.name for reader in readers):
            return True
        waiting = [v for r in readers if r.kind in ("move", "other") for v in r.outputs]
    return False
