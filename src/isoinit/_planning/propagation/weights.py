"""What the parameters of an operation do to a signal: weights, tables, scales, biases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isoinit._planning.held import Held
from isoinit._planning.propagation import tables
from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import (
    ACROSS,
    HERE,
    NEARBY,
    SAMPLES,
    Signal,
    gaussian,
    mirrored,
    replace,
)
from isoinit._reading.few_inputs import features
from isoinit._reading.graph import Array, Op
from isoinit.initializers import Initializer, KinkBias
from isoinit.initializers.scale.fans import Layout


def weighted(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return what a weight makes of its input: Gaussian, of variance Var(w) · fan_in · E[x²]."""
    fed = inputs[0]
    filled = context.ask(op, fed)
    use = next((use for use in op.uses if use.slot == "weight"), None)
    weight = filled.get("weight")
    moments = context.moments(op, use, fed) if use is not None else None
    if use is None or moments is None:
        return None
    layout = use.whole
    rank = len(context.graph.sizes.get(op.outputs[0], ()))
    units = frozenset({max(rank - 1 - len(layout.kernel), 0)})
    if isinstance(kinks := filled.get("bias"), KinkBias):
        return gaussian(context.rng, _bent(context, op, fed, kinks), units)
    products = _read_by(context, op, layout, inputs)
    terms = _terms(context, op, layout, weight)
    mirror = getattr(weight, "mirror", "")
    if mirror in ("in", "both"):
        half = fed.rows[:, : SAMPLES // 2] - fed.rows[:, SAMPLES // 2 :]
        products = Signal(half, fed.units).products
    else:
        products = products + (moments.along - 1) * fed.mean**2
    products = products * terms * moments.second
    mean, variance = _bias(context, op, fed)
    draw = mirrored if mirror in ("out", "both") else gaussian
    signal = draw(context.rng, products + variance, units)
    return replace(signal, rows=signal.rows + mean)


def _bent(context: Context, op: Op, fed: Signal, kinks: KinkBias) -> Array:
    """Return the mean products of what a layer of few inputs gives, whose biases follow from them.

    The bias takes out what the weight makes of the inputs' mean, and adds the same to all examples.
    """
    count = len(kinks.sizes)
    known = features(context.graph, op.inputs[0])
    if known and context.nominal:  # the example that it was chosen for
        second = kinks.around_centre(kinks.centre, kinks.sizes)
    else:
        variance = max(fed.second - fed.mean**2, 0.0)
        known = known or ((fed.mean, math.sqrt(variance)),) * count
        second = kinks.around_centre(*zip(*known, strict=True))
    products = fed.products - fed.mean**2
    own = products[HERE, HERE]
    return products / (own if own > 0 else 1.0) * second + kinks.spread**2


def looked_up(context: Context, op: Op) -> Signal | None:
    """Return rows of a table, or a parameter in the place of a signal."""
    filled = context.ask(op, None)
    use = next(iter(op.uses), None)
    initializer = filled.get(use.slot) if use else None
    if use is None or initializer is None:
        return None
    moments = context.moments(op, use, None)
    if moments is None:
        return None
    mean, variance = moments.mean, moments.variance
    alike = {"position": [[1, 0, 1], [0, 1, 0], [1, 0, 1]], "token": np.ones((3, 3))}
    places = op.detail.constant
    one_row = places is not None and places[1] - places[0] ** 2 < 1e-9
    several = use.slot == "token" and math.prod(use.whole.shape[:-1]) > 1
    kind = "position" if several else "token" if one_row else use.slot
    held = initializer.alike if isinstance(initializer, Held) else mean**2
    common = tables.share(mean, variance, held)
    products = np.maximum(np.array(alike.get(kind, np.eye(3)), float), common) * (
        variance * use.whole.fan_in
    )
    signal = gaussian(context.rng, products, context.last_axis(op.outputs[0]))
    rows = signal.rows + mean
    if op.detail.clip is not None:
        width = int(use.layout.fan_out)
        rows = rows * tables.clipping(mean, variance, width, *op.detail.clip)
    return tables.pooled(context, op, replace(signal, rows=rows))


def scaled_and_shifted(context: Context, op: Op, signal: Signal | None) -> Signal | None:
    """Return a signal with the parameters that an operation multiplies it by or adds to it."""
    filled = context.ask(op, signal)
    if signal is None or not op.uses:
        return signal
    rows = signal.rows
    for use in op.uses:
        initializer = filled[use.slot]
        if use.slot not in ("scale", "weight", "bias", "shift", "position", "slope"):
            continue
        if initializer is None:
            return None
        moments = context.moments(op, use, signal)
        if moments is None:
            return None
        mean, variance = moments.mean, moments.variance
        if use.slot == "scale" or (use.slot == "slope" and op.name != "prelu"):
            rows = rows * math.copysign(math.sqrt(mean**2 + variance), mean or 1.0)
        elif use.slot == "weight":  # that a signal scales: it is the same for all examples
            alike = np.eye(3)
            alike[HERE, ACROSS] = alike[ACROSS, HERE] = 1
            rows = rows * (mean + gaussian(context.rng, alike * variance).rows)
        elif use.slot == "slope":
            rows = np.where(rows > 0, rows, mean * rows)
        else:
            alike = np.ones((3, 3)) if use.slot != "position" else np.eye(3)
            alike[HERE, ACROSS] = alike[ACROSS, HERE] = 1
            rows = rows + mean + gaussian(context.rng, alike * variance).rows
    return replace(signal, rows=rows)


def _read_by(context: Context, op: Op, layout: Layout, inputs: Sequence[Signal]) -> Array:
    """Return the mean products of what a weight sums over."""
    sizes = context.graph.sizes
    fed = inputs[0]
    products, near = fed.products, fed.products[HERE, NEARBY]
    last = len(sizes.get(op.outputs[0], ())) - 1
    if len(inputs) > 1:  # bilinear: a product of two signals
        return np.asarray(products * inputs[1].products)
    summed = set(op.detail.summed[0]) if op.detail.becomes else {last}
    if not layout.kernel and fed.units and not summed & fed.units:
        # It mixes places and not units; what was another unit is now another place.
        near = float(fed.rows[HERE] @ np.roll(fed.rows[HERE], 1)) / SAMPLES
    elif layout.kind == "conv_transpose":  # other taps make the places in between
        apart = math.prod(sizes.get(op.inputs[0], (1,))[2:]) > 1
        near *= layout.fan_in / math.prod(layout.maps_shape[2:]) if apart else 0.0
    products[HERE, NEARBY] = products[NEARBY, HERE] = near
    return products


def _terms(context: Context, op: Op, layout: Layout, weight: Initializer | None) -> float:
    """Return how many terms add up in one output: those on padding are zero.

    The centre tap of a kernel is never there.
    """
    if weight is not None and weight.centre_alone and layout.kind == "conv":
        return float(math.prod(layout.maps_shape[2:]))
    return layout.fan_in * (1.0 if context.nominal else op.detail.inside)


def _bias(context: Context, op: Op, fed: Signal | None) -> tuple[float, float]:
    """Return the mean and variance of an operation's bias."""
    for use in op.uses:
        if use.slot in ("bias", "shift"):
            moments = context.moments(op, use, fed)
            return (0.0, 0.0) if moments is None else (moments.mean, moments.variance)
    return 0.0, 0.0
