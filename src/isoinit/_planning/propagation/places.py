"""Operations that move, average, pick or join the places of signals and the units at them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import (
    ACROSS,
    HERE,
    NEARBY,
    SAMPLES,
    Signal,
    elsewhere,
    gaussian,
    of_moments,
    part,
    replace,
)
from isoinit._reading.graph import Array, Op

# Parts whose moments differ by less than this share count as alike: an average of two is within √2.
ALIKE = 0.5
MOST = 32  # units that samples tell the largest of


def moved(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return the same samples along other axes; parts of the units are other units."""
    before, after = (context.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
    signal = inputs[0]
    units, unlike = (_along(op, axes) for axes in (signal.units, signal.unlike))
    rows = signal.rows
    ratio = max(round(math.prod(before) / max(math.prod(after), 1)), 1)
    if op.name == "getitem" and op.detail.axes and op.detail.axes[:2] == ((0,), (0,)):
        rows = rows[[HERE, ACROSS, ACROSS]]  # several rows for each place: neighbours in a graph
    if op.name.startswith(("avg_pool", "adaptive_avg_pool")):
        pooled = replace(signal, units=units)
        return pooled if context.nominal else averaged(context, pooled, op.detail.window or ratio)
    if op.name.startswith(("max_pool", "adaptive_max_pool")):
        return largest(context, replace(signal, units=units), op.detail.window or ratio)
    if not context.nominal and op.detail.power != 1.0:
        rows = rows * kept(context, op.detail.power, rows.shape)
    if op.name == "pad" and not context.nominal:
        rows = rows * math.sqrt(op.detail.inside)
    if op.name == "pad":
        unlike |= {axis for axis in units if axis < len(before) and before[axis] != after[axis]}
    rearranged = replace(signal, rows=rows, units=units, unlike=unlike)
    if context.graph.reorders(op):
        return _reordered(op, rearranged)
    return _part_of(context, op, signal, rearranged) if context.graph.is_part(op) else rearranged


def _reordered(op: Op, signal: Signal) -> Signal:
    """Return a signal in another order: where one element was, there is another now."""
    dims = set(op.detail.dims)
    if dims & signal.units:
        return part(signal, op.outputs[0])
    return elsewhere(signal, op.outputs[0], example=dims == {0})


def kept(context: Context, power: float, shape: tuple[int, ...]) -> Array:
    """Return what dropout multiplies samples by: of mean one, and of this second moment."""
    keep = context.rng.random(shape) < 1 / power
    return np.where(keep, power, 0.0)


def pieces(context: Context, op: Op, signal: Signal) -> dict[int, Signal]:
    """Return the signals of an operation's outputs: of several, other units or places of one."""
    if len(op.outputs) == 1:
        return {op.outputs[0]: signal}
    source = context.signals.get(op.inputs[0]) if op.kind == "move" and op.inputs else None
    if source is None:
        return {value: part(signal, i) for i, value in enumerate(op.outputs)}
    apart = _taken_apart(context, op)
    if any(_cut(context, op, axis) for axis in source.unlike) or len(apart) == len(op.outputs):
        return apart
    if _splits_units(context, op, source):
        return {value: part(signal, i) for i, value in enumerate(op.outputs)}
    return {value: elsewhere(signal, value) for value in op.outputs}


def reduced(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return a mean or a sum along axes: over units it is a number, over places an average."""
    signal = inputs[0]
    before = context.graph.sizes.get(op.inputs[0], ())
    after = context.graph.sizes.get(op.outputs[0], ())
    dims = [dim for dim in op.detail.dims if dim < len(before)]
    gone = 0 if len(before) == len(after) else 1
    units = frozenset(
        axis - gone * sum(dim < axis for dim in dims) for axis in signal.units if axis not in dims
    )
    places = math.prod(before[dim] for dim in dims if dim not in signal.units)
    over = math.prod(before[dim] for dim in dims if dim in signal.units)
    found = replace(signal, units=units)
    if op.name == "sum" or not context.nominal:
        found = averaged(context, found, places)
    if over > 1:
        means = found.rows.mean(1, keepdims=True)
        noise = gaussian(context.rng, (found.products - means @ means.T) / over).rows
        found = replace(found, rows=means + noise)
    if op.name == "sum":
        found = replace(found, rows=found.rows * (over * places))
    return replace(found, dtype=np.float64)


def joined(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return signals side by side: a sample of each, by their sizes."""
    if len(inputs) == 1:
        return inputs[0]
    sizes = [math.prod(context.graph.sizes.get(value, (1,))) for value in op.inputs]
    if not any(sizes):  # empty tensors have no elements to take samples of
        return inputs[0]
    ends = np.round(np.cumsum([0, *sizes]) / sum(sizes) * SAMPLES).astype(int)
    order = context.rng.permutation(SAMPLES)
    rows = np.empty_like(inputs[0].rows)
    for signal, first, last in zip(inputs, ends[:-1], ends[1:], strict=True):
        mine = order[first:last]
        for row, its in zip(rows, signal.rows, strict=True):  # faster than all at once
            row[mine] = its[mine]
    weighted = zip(sizes, inputs, strict=True)
    second = sum(size * signal.second for size, signal in weighted) / sum(sizes)
    found = float(np.square(rows[HERE]).mean())
    rows = rows * math.sqrt(second / found) if found > 0 else rows
    units, axes = inputs[0].units, frozenset(op.detail.dims)
    if op.name == "stack":
        units = frozenset(axis + any(dim <= axis for dim in axes) for axis in units)
    together = op.name == "stack" or bool(axes & units)
    return Signal(rows, units, unlike=axes if together and _differ(inputs) else frozenset())


def written(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return a signal of which a part was overwritten, which takes its share of the samples.

    What is read from it later may be that part or another.
    """
    if len(inputs) < 2:
        return None
    whole, piece = (context.graph.sizes.get(value, ()) for value in op.inputs)
    share = min(math.prod(piece) / max(math.prod(whole), 1), 1.0)
    chosen = context.rng.permutation(SAMPLES)[: round(share * SAMPLES)]
    rows = inputs[0].rows.copy()
    rows[:, chosen] = inputs[1].rows[:, chosen]
    second = share * inputs[1].second + (1 - share) * inputs[0].second
    found = float(np.square(rows[HERE]).mean())
    rows = rows * math.sqrt(second / found) if found > 0 else rows
    return Signal(rows, inputs[0].units, unlike=frozenset(range(len(whole))))


def unlike(context: Context, op: Op, inputs: Sequence[Signal]) -> frozenset[int]:
    """Return the axes of a function of single elements along which its inputs' parts differ."""
    return context.aligned(op, [signal.unlike for signal in inputs])


def _along(op: Op, axes: frozenset[int]) -> frozenset[int]:
    """Return the axes that run along these after a rearrangement."""
    if op.detail.axes is None:
        return axes
    return frozenset(new for new, old in enumerate(op.detail.axes) if axes & set(old))


def _differ(signals: Sequence[Signal]) -> bool:
    """Return whether signals are of different sizes or means."""
    sizes = [(signal.second, signal.mean) for signal in signals]
    largest = max(second for second, _ in sizes)
    seconds, means = ([pair[i] for pair in sizes] for i in (0, 1))
    apart = max(max(seconds) - min(seconds), (max(means) - min(means)) ** 2)
    return apart > ALIKE * largest


def _part_of(context: Context, op: Op, signal: Signal, moved: Signal) -> Signal | None:
    """Return a part: of the units other units, of the places other places.

    Of a signal whose parts differ it is not known which one it is.
    """
    if len(op.outputs) > 1:
        return moved
    if any(_cut(context, op, axis) for axis in signal.unlike):
        return None
    if _splits_units(context, op, signal):
        return part(moved, op.outputs[0])
    return elsewhere(moved, op.outputs[0])


def _taken_apart(context: Context, op: Op) -> dict[int, Signal]:
    """Return the signals of what lay side by side, for the outputs that lie within one part."""
    segments = context.segments.get(op.inputs[0])
    if segments is None or not _cut(context, op, segments.axis):
        return {}
    sizes = context.graph.sizes
    share = sizes[op.inputs[0]][segments.axis] / math.prod(sizes[op.inputs[0]])
    found: dict[int, Signal] = {}
    last = 0
    for value in op.outputs:
        first, last = last, last + round(share * math.prod(sizes[value]))
        if (signal := segments.within(first, last)) is not None:
            found[value] = replace(signal, units=_along(op, signal.units))
    return found


def _cut(context: Context, op: Op, axis: int) -> bool:
    """Return whether an operation gives a part of what lies along an axis of its input."""
    before, after = (context.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
    if op.detail.axes is None:
        return True
    left = [after[new] for new, old in enumerate(op.detail.axes) if axis in old]
    return math.prod(left) < before[axis] if left else before[axis] > 1


def picked(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return the largest of the units at each place, as `topk` gives them first."""
    before, after = (context.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
    if not before or len(before) != len(after):
        return None
    kept = max(round(SAMPLES * math.prod(after) / max(math.prod(before), 1)), 1)
    largest = np.sort(inputs[0].rows, axis=1)[:, SAMPLES - kept :]
    order = context.rng.permutation(np.arange(SAMPLES) * kept // SAMPLES)
    return Signal(largest[:, order], inputs[0].units, unlike=frozenset(op.detail.dims))


def largest_unit(context: Context, op: Op, signal: Signal) -> Signal | None:
    """Return the largest of several units at each place (maxout: Goodfellow et al. 2013)."""
    before, after = (context.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
    dims = {dim for dim in op.detail.dims if dim < len(before)}
    count = math.prod(before[dim] for dim in dims)
    if (
        len(op.inputs) > 1
        or not dims
        or dims - signal.units
        or dims & signal.unlike
        or count > MOST
    ):
        return None
    rows = np.max([part(signal, i).rows for i in range(count)], axis=0)
    gone = 0 if len(before) == len(after) else 1
    left = signal.units - dims
    return Signal(rows, frozenset(axis - gone * sum(dim < axis for dim in dims) for axis in left))


def _splits_units(context: Context, op: Op, signal: Signal) -> bool:
    """Return whether the parts that an operation gives hold different units."""
    before, after = (context.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
    if len(before) != len(after):
        axes = op.detail.axes
        return axes is not None and any(all(u not in old for old in axes) for u in signal.units)
    return any(before[axis] != after[axis] for axis in signal.units if axis < len(before))


def averaged(context: Context, signal: Signal, count: int) -> Signal:
    """Return a mean over `count` places."""
    if count < 2:
        return signal
    products, near = signal.products, signal.nearby(count)
    second = near + (products[HERE, HERE] - near) / count
    far = products[HERE, ACROSS]
    both = min(far, products[NEARBY, ACROSS])
    far = both + (far - both) / count
    return of_moments(context.rng, signal, second, near, far)


def spread(context: Context, signal: Signal, distinct: int, places: int) -> Signal:
    """Return a signal of few places that is copied to many: two of these may be copies of one."""
    if not 0 < distinct < places:
        return signal
    if distinct == 1:
        return replace(signal, rows=signal.rows[[HERE, HERE, ACROSS]])
    copies = places / distinct
    alike = (copies - 1) / (places - 1)
    same = context.rng.permutation(SAMPLES) < alike * SAMPLES
    here, nearby, across = signal.rows
    return replace(signal, rows=np.stack([here, np.where(same, here, nearby), across]))


def largest(context: Context, signal: Signal, count: int) -> Signal:
    """Return the largest of `count` places, as correlated as two places are."""
    mean, products = signal.mean, signal.products
    spread = products[HERE, HERE] - mean**2
    if not spread > 0:  # nor NaN
        return signal
    alike = min(max((products[HERE, NEARBY] - mean**2) / spread, 0.0), 1.0)
    if alike > 0.99:
        return signal
    shared = gaussian(context.rng, np.ones((3, 3)) * alike).rows
    ranks = []
    for _ in range(min(count, 64)):
        own = gaussian(context.rng, np.eye(3)).rows
        ranks.append(np.argsort(np.argsort(shared + math.sqrt(1 - alike) * own, 1), 1))
    order = np.sort(signal.rows, axis=1)
    return replace(signal, rows=np.take_along_axis(order, np.max(ranks, 0), 1))
