"""Functions of single elements, replayed on the samples, and sums and products with constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from isoinit._planning.propagation import places, tables
from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import (
    SAMPLES,
    Signal,
    gaussian,
    part,
    put_right,
    replace,
)
from isoinit._reading.graph import LAYERS, SUMS, Array, Op, ReplayError, elementwise, run_ops
from isoinit._reading.scores import makes_scores

PICKS = frozenset("getitem index_select gather take_along_dim embedding".split())
NEAR = 4  # operations: as far as a stack stands before what is taken of it


def pointwise(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return what a function of single elements gives; None if the operation is none."""
    units = _units(context, op, inputs)
    if op.uses:
        return Signal(inputs[0].rows, units)
    if op.replay is None:
        return _with_constant(context, op, inputs, units)
    pairs = zip(op.inputs, inputs, strict=True)
    inputs = [_same_everywhere(context, op, value, signal) for value, signal in pairs]
    if context.graph.widens(op):  # at any two places
        inputs = [inputs[0], *(part(signal, i) for i, signal in enumerate(inputs[1:]))]
    try:
        found = _replayed(context, op, inputs)
    except ReplayError:
        return _with_those_before(context, op, units)
    if op.name in ("add", "sub", "mul") and len(inputs) == 2:
        found = replace(found, rows=put_right(op.name, found.rows, *inputs))
    if op.chance != 1.0 and not context.nominal:
        found = replace(found, rows=found.rows * places.kept(context, op.chance, found.rows.shape))
    return replace(found, units=units)


def _same_everywhere(context: Context, op: Op, value: int, signal: Signal) -> Signal:
    """Return an input's signal; of few places that are broadcast to many, some are alike."""
    before, after = (context.graph.sizes.get(v, ()) for v in (value, op.outputs[0]))
    axes = {axis - len(before) for axis in signal.units} | {-len(after)}  # units, examples
    along = [axis for axis in range(-len(after), 0) if axis not in axes]
    distinct = math.prod(before[axis] for axis in along if -axis <= len(before))
    return places.spread(context, signal, distinct, math.prod(after[axis] for axis in along))


def reduced(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return a mean or a sum: over a stack of signals that of their samples, else over places."""
    maker = context.graph.producers.get(op.inputs[0])
    if maker is not None and maker.name == "stack" and maker.detail.dims == op.detail.dims:
        found = _with_those_before(context, op, _units(context, op, inputs))
        if found is not None:
            return found
    return places.reduced(context, op, inputs)


def extreme(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return the larger of two signals, of a stack of functions, or the largest of some units."""
    found = pointwise(context, op, inputs)
    return places.largest_unit(context, op, inputs[0]) if found is None else found


def glu(_context: Context, _op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return `F.glu`: one half of the units, gated by the sigmoid of the other."""
    signal, gate = inputs[0], part(inputs[0], 1)
    return replace(signal, rows=signal.rows / (1 + np.exp(-gate.rows)))


def _units(context: Context, op: Op, inputs: Sequence[Signal]) -> frozenset[int]:
    """Return the axes of an operation's output along which its inputs have their units."""
    return context.aligned(op, [signal.units for signal in inputs])


def _replayed(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal:
    """Return what an operation makes of samples, which is elementwise.

    Raises:
        ReplayError: if it is not.
    """

    def function(rows: Sequence[Array]) -> Array:
        return run_ops((op,), dict(zip(op.inputs, rows, strict=True)))[op.outputs[0]]

    if op.single or op.index in context.graph.elementwise:
        row = function([signal.flat for signal in inputs])
        if row.size != inputs[0].rows.size:
            raise ReplayError(f"{op.name} is no function of single elements")
        context.graph.elementwise.add(op.index)
        return _signal(row, inputs[0])
    found = _tried(function, inputs)
    context.graph.elementwise.add(op.index)
    return found


def _tried(function: Callable[[Sequence[Array]], Array], inputs: Sequence[Signal]) -> Signal:
    """Return a function of samples, if it is elementwise.

    Raises:
        ReplayError: if it is not.
    """
    flat = [signal.flat for signal in inputs]
    return _signal(elementwise(function, flat, rtol=1e-6, atol=1e-9), inputs[0])


def _signal(row: Array, like: Signal) -> Signal:
    """Return a row of samples as a signal."""
    rows = row.astype(np.float64, copy=False).reshape(like.rows.shape)
    return Signal(rows, frozenset(), dtype=row.dtype)


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
        if any(maker.detail.summed) or graph.widens(maker):  # of many elements, and large
            return None
        steps.insert(0, maker)
        waiting = waiting - {newest} | set(maker.inputs)
        order = sorted(waiting)
        if any(value not in signals for value in order):
            return None

        def together(rows: Sequence[Array], order: list[int] = order) -> Array:
            return run_ops(steps, dict(zip(order, rows, strict=True)))[op.outputs[0]]

        try:
            found = _tried(together, [signals[value] for value in order])
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
    if op.mixed is not None and op.name in PICKS:
        return Signal(_table(context, op.mixed.rows[0]), context.last_axis(op.outputs[0]))
    if context.of_example.issuperset(op.inputs) and any(signal.unlike for signal in inputs):
        return None  # which unit meets which constant is not known
    rows, known = inputs[0].rows, op.detail.constant
    if op.name in (*SUMS, "mul") and len(inputs) == 1 and known is not None:
        mean, square = known
        mean = -mean if op.name == "sub" else mean
        if op.name == "mul":
            return Signal(rows * math.copysign(math.sqrt(square), mean or 1.0), units)
        if op.detail.causal or op.detail.left < 1:
            return Signal(rows, units)
        variance = max(square - mean**2, 0.0)
        a_row_a_place = units == context.last_axis(op.outputs[0])
        common = tables.share(mean, variance, op.detail.alike) if a_row_a_place else 0.0
        alike = np.maximum(np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], float), common) * variance
        return Signal(rows + mean + gaussian(context.rng, alike).rows, units)
    if op.mixed is None or op.detail.causal or makes_scores(context.graph, op):
        left_out = op.name in (*SUMS, "mul", "div", "where", "masked_scatter")
        return Signal(rows, units) if left_out and len(inputs) == 1 else None
    drawn = [Signal(_table(context, row), units, dtype=row.dtype) for row in op.mixed.rows]
    replay = op.mixed.replay
    try:
        return replace(_tried(lambda rows: replay(rows)[0], [*inputs, *drawn]), units=units)
    except ReplayError:
        return None


def _table(context: Context, values: Array) -> Array:
    """Return samples of a constant tensor: the same for all examples, others at other places."""
    here, nearby = (np.resize(values, SAMPLES)[context.rng.permutation(SAMPLES)] for _ in range(2))
    return np.stack([here, nearby, here])
