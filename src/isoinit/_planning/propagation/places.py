"""Operations that move, average, pick or join the places of signals and the units at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import (
    ACROSS,
    HERE,
    NEARBY,
    SAMPLES,
    Signal,
    gaussian,
    of_moments,
    part,
)
from isoinit._reading.graph import Op


def moved(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return the same samples along other axes; parts of the units are other units."""
    signal, axes = inputs[0], op.detail.axes
    before, after = (context.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
    units = signal.units
    if axes is not None:
        units = frozenset(a for a, old in enumerate(axes) if signal.units & set(old))
    rows = signal.rows
    ratio = max(round(math.prod(before) / max(math.prod(after), 1)), 1)
    if op.name.startswith(("avg_pool", "adaptive_avg_pool")):
        return averaged(context, replace(signal, units=units), op.detail.window or ratio)
    if op.name.startswith(("max_pool", "adaptive_max_pool")):
        return largest(context, replace(signal, units=units), op.detail.window or ratio)
    if not context.nominal and op.detail.power != 1.0:
        keep = context.rng.random(rows.shape) < 1 / op.detail.power
        rows = rows * keep * op.detail.power
    if op.name == "pad" and before and not context.nominal:
        rows = rows * math.sqrt(math.prod(before) / max(math.prod(after), 1))
    rearranged = replace(signal, rows=rows, units=units)
    if context.graph.is_part(op) and _splits_units(context, op, signal):
        return part(rearranged, op.outputs[0])
    return rearranged


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
    found = averaged(context, replace(signal, units=units), places)
    if over > 1:
        means = found.rows.mean(1, keepdims=True)
        noise = gaussian(context.rng, (found.products - means @ means.T) / over).rows
        found = replace(found, rows=means + noise)
    if op.name == "sum":
        found = replace(found, rows=found.rows * (over * (1 if context.nominal else places)))
    return replace(found, dtype=np.float64)


def joined(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return signals side by side: a sample of each, by their sizes."""
    if len(inputs) == 1:
        return inputs[0]
    sizes = [math.prod(context.graph.sizes.get(value, (1,))) for value in op.inputs]
    ends = np.round(np.cumsum([0, *sizes]) / sum(sizes) * SAMPLES).astype(int)
    order = context.rng.permutation(SAMPLES)
    rows = np.empty_like(inputs[0].rows)
    for signal, first, last in zip(inputs, ends[:-1], ends[1:], strict=True):
        rows[:, order[first:last]] = signal.rows[:, order[first:last]]
    weighted = zip(sizes, inputs, strict=True)
    second = sum(size * signal.second for size, signal in weighted) / sum(sizes)
    found = float(np.square(rows[HERE]).mean())
    return Signal(rows * math.sqrt(second / found) if found > 0 else rows, inputs[0].units)


def picked(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return the largest of the units at each place, as `topk` gives them first."""
    before, after = (context.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
    if not before or len(before) != len(after):
        return None
    kept = max(round(SAMPLES * math.prod(after) / max(math.prod(before), 1)), 1)
    largest = np.sort(inputs[0].rows, axis=1)[:, SAMPLES - kept :]
    order = context.rng.permutation(np.arange(SAMPLES) * kept // SAMPLES)
    return Signal(largest[:, order], inputs[0].units)


def _splits_units(context: Context, op: Op, signal: Signal) -> bool:
    """Return whether the parts that an operation gives hold different units."""
    before, after = (context.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
    if len(before) != len(after):
        axes = op.detail.axes
        return axes is not None and any(all(u not in old for old in axes) for u in signal.units)
    return any(before[axis] != after[axis] for axis in signal.units if axis < len(before))


def averaged(context: Context, signal: Signal, count: int) -> Signal:
    """Return a mean over `count` places."""
    if context.nominal or count < 2:
        return signal
    products = signal.products
    near = products[HERE, NEARBY]
    second = near + (products[HERE, HERE] - near) / count
    far = products[HERE, ACROSS]
    both = min(far, products[NEARBY, ACROSS])
    far = both + (far - both) / count
    return of_moments(context.rng, signal, second, near, far)


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
