"""What lies side by side along an axis: put there, kept in its place by functions of elements.

A concatenation puts parts side by side, and so does the bias of stacked gates, of which one starts
open. `places.pieces` takes them apart again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from isoinit._planning.propagation import places, pointwise
from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import (
    Segments,
    Signal,
    independent,
    mixed,
    part,
    replace,
)
from isoinit._reading.graph import Op
from isoinit.initializers import GateBias


def side_by_side(context: Context, op: Op, signal: Signal) -> Segments | None:
    """Return the parts of an operation's output, given the signal of all of it."""
    if len(op.outputs) != 1:
        return None
    if op.name in ("cat", "concat") and signal.unlike:
        return _joined(context, op)
    if (bias := _gate_bias(context, op)) is not None:
        return _gated(context, op, signal, bias)
    if op.kind == "move" and not op.uses:
        return _rearranged(context, op)
    if op.kind == "other" and any(value in context.segments for value in op.inputs):
        return _of_elements(context, op)
    return None


def _joined(context: Context, op: Op) -> Segments | None:
    """Return what a concatenation joins; constants among it have no number, and no known place."""
    sizes = context.graph.sizes
    if len(op.detail.dims) != 1:
        return None
    (axis,) = op.detail.dims
    ends = tuple(accumulate(sizes[value][axis] for value in op.inputs))
    if ends[-1] != sizes[op.outputs[0]][axis]:
        return None
    return Segments(axis, ends, tuple(context.signals.get(value) for value in op.inputs))


def _gate_bias(context: Context, op: Op) -> GateBias | None:
    """Return the bias of stacked gates that an operation adds along its last axis."""
    size = context.graph.sizes.get(op.outputs[0], ())[-1:]
    for use in op.uses:
        plain = use.slot == "bias" and use.made is None and not use.through and not use.part
        bias = context.fill(op, use, None) if plain else None
        if isinstance(bias, GateBias) and size == (math.prod(use.layout.shape),):
            return bias
    return None


def _gated(context: Context, op: Op, signal: Signal, bias: GateBias) -> Segments:
    """Return the gates of a layer: alike, but for what the bias adds to one of them."""
    mean = bias.val / bias.gates
    rows = signal.rows - mean
    products = Signal(rows, signal.units).products - (bias.val * mean - mean**2)
    base = replace(signal, rows=mixed(rows, products))
    size = context.graph.sizes[op.outputs[0]][-1] // bias.gates
    gates = []
    for gate in range(bias.gates):
        own = part(base, gate)
        shift = bias.val if gate == bias.gate else 0.0
        gates.append(replace(own, rows=own.rows + shift))
    axis = len(context.graph.sizes[op.outputs[0]]) - 1
    return Segments(axis, tuple(size * (gate + 1) for gate in range(bias.gates)), tuple(gates))


def _rearranged(context: Context, op: Op) -> Segments | None:
    """Return the parts of a value that was rearranged and not cut along their axis.

    Where that axis became several, the outermost has the parts.
    """
    known = context.segments.get(op.inputs[0])
    if known is None or op.detail.axes is None:
        return None
    before, after = (context.graph.sizes[value] for value in (op.inputs[0], op.outputs[0]))
    along = [new for new, old in enumerate(op.detail.axes) if known.axis in old]
    inner = math.prod(after[axis] for axis in along[1:])
    alone = all(op.detail.axes[axis] == (known.axis,) for axis in along)
    if not along or not alone or before[known.axis] != inner * after[along[0]]:
        return None
    if any(end % inner for end in known.ends):
        return None
    ends = tuple(end // inner for end in known.ends)
    signals = tuple(s and places.moved(context, op, [s]) for s in known.signals)
    return Segments(along[0], ends, signals)


def _of_elements(context: Context, op: Op) -> Segments | None:
    """Return what a function of single elements makes of each part.

    What it combines them with must be independent of them, or have parts of its own.
    """
    if not context.signals.keys() >= {*op.inputs}:
        return None
    known = [context.segments.get(value) for value in op.inputs]
    inputs = [context.signals[value] for value in op.inputs]
    rank = len(context.graph.sizes[op.outputs[0]])
    axes = [rank - len(context.graph.sizes[value]) for value in op.inputs]
    found = {(k.axis + more, k.ends) for k, more in zip(known, axes, strict=True) if k}
    if len(found) != 1 or not (op.uses or op.index in context.graph.elementwise):
        return None
    ((axis, ends),) = found
    if ends[-1] != context.graph.sizes[op.outputs[0]][axis]:
        return None
    parted = [signal for signal, k in zip(inputs, known, strict=True) if k]
    others = [signal for signal, k in zip(inputs, known, strict=True) if not k]
    if not all(independent(one, other) for one in parted for other in others):
        return None
    signals = []
    for i in range(len(ends)):
        fed = [k.signals[i] if k else part(s, i) for s, k in zip(inputs, known, strict=True)]
        whole = [signal for signal in fed if signal is not None]
        signals.append(_applied(context, op, whole) if len(whole) == len(fed) else None)
    return Segments(axis, ends, tuple(signals))


def _applied(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return what an operation makes of parts; None of a parameter that differs between them."""
    if not op.uses:
        return pointwise.pointwise(context, op, inputs)
    rows = inputs[0].rows
    for use in op.uses:
        moments = context.moments(op, use, inputs[0]) if use.slot == "bias" else None
        if moments is None or moments.variance > 0:
            return None
        rows = rows + moments.mean
    return replace(inputs[0], rows=rows)
