"""What the parameters of an operation do to a signal: weights, tables, scales, biases."""

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
    mirrored,
)
from isoinit._reading.graph import Array, Op, Use
from isoinit.initializers import Initializer, LooksLinear


def weighted(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return what a weight makes of its input: Gaussian, of variance Var(w) · fan_in · E[x²]."""
    fed = inputs[0]
    filled = context.ask(op, fed)
    use = next((use for use in op.uses if use.slot == "weight"), None)
    weight = filled.get("weight")
    if use is None or weight is None or use.through:
        return None
    rank = len(context.graph.sizes.get(op.outputs[0], ()))
    units = frozenset({max(rank - 1 - len(use.layout.kernel), 0)})
    products = _read_by(context, op, use, inputs)
    terms = use.layout.fan_in * (1.0 if context.nominal else inside(context, op, use))
    mirror = weight.mirror if isinstance(weight, LooksLinear) else ""
    if mirror in ("in", "both"):
        half = fed.rows[:, : SAMPLES // 2] - fed.rows[:, SAMPLES // 2 :]
        products = half @ half.T / SAMPLES
    products = products * terms * weight.std_for(use.layout) ** 2
    mean, variance = _bias(op, filled)
    draw = mirrored if mirror in ("out", "both") else gaussian
    signal = draw(context.rng, products + variance, units)
    return replace(signal, rows=signal.rows + mean)


def looked_up(context: Context, op: Op) -> Signal | None:
    """Return rows of a table, or a parameter in the place of a signal."""
    filled = context.ask(op, None)
    use = next(iter(op.uses), None)
    initializer = filled.get(use.slot) if use else None
    if use is None or initializer is None:
        return None
    mean, variance = moments(initializer, use)
    alike = {"position": [[1, 0, 1], [0, 1, 0], [1, 0, 1]], "token": np.ones((3, 3))}
    places = op.detail.constant
    one_row = places is not None and places[1] - places[0] ** 2 < 1e-9
    kind = "token" if one_row else use.slot
    products = np.array(alike.get(kind, np.eye(3)), float) * (variance * use.layout.fan_in)
    signal = gaussian(context.rng, products, context.last_axis(op.outputs[0]))
    return replace(signal, rows=signal.rows + mean)


def scaled_and_shifted(context: Context, op: Op, signal: Signal | None) -> Signal | None:
    """Return a signal with the parameters that an operation multiplies it by or adds to it."""
    filled = context.ask(op, signal)
    if signal is None:
        return None
    rows = signal.rows
    for use in op.uses:
        initializer = filled[use.slot]
        if use.slot not in ("scale", "bias", "shift", "position", "slope"):
            continue
        if initializer is None:
            return None
        if use.through and use.neutral is not None:
            continue  # started at the value at which it does nothing
        if use.through:
            return None
        mean, variance = moments(initializer, use)
        if use.slot == "scale":
            rows = rows * (mean if mean else math.sqrt(variance))
        elif use.slot == "slope":
            rows = np.where(rows > 0, rows, mean * rows)
        else:
            alike = np.ones((3, 3)) if use.slot != "position" else np.eye(3)
            alike[HERE, ACROSS] = alike[ACROSS, HERE] = 1
            rows = rows + mean + gaussian(context.rng, alike * variance).rows
    return replace(signal, rows=rows)


def _read_by(context: Context, op: Op, use: Use, inputs: Sequence[Signal]) -> Array:
    """Return the mean products of what a weight sums over."""
    sizes = context.graph.sizes
    fed = inputs[0]
    products, near = fed.products, fed.products[HERE, NEARBY]
    last = len(sizes.get(op.outputs[0], ())) - 1
    if len(inputs) > 1:  # bilinear: a product of two signals
        return np.asarray(products * inputs[1].products)
    if not use.layout.kernel and fed.units and last not in fed.units:
        # It mixes places and not units; what was another unit is now another place.
        near = float(fed.rows[HERE] @ np.roll(fed.rows[HERE], 1)) / SAMPLES
    elif use.layout.kind == "conv_transpose":  # other taps make the places in between
        apart = math.prod(sizes.get(op.inputs[0], (1,))[2:]) > 1
        near *= use.layout.fan_in / math.prod(use.layout.maps_shape[2:]) if apart else 0.0
    products[HERE, NEARBY] = products[NEARBY, HERE] = near
    return products


def inside(context: Context, op: Op, use: Use) -> float:
    """Return the share of a kernel's taps that fall on the input and not on padding, on average."""
    before, after = (context.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
    if not use.layout.kind.startswith("conv") or len(before) != len(after):
        return 1.0
    spread = use.layout.kind == "conv_transpose"
    first = len(after) - len(use.layout.kernel)
    sides = zip(*((after, before) if spread else (before, after)), strict=True)
    share = 1.0
    terms = math.prod(use.layout.maps_shape[2:])  # the fan-in of a spread kernel is over strides
    steps = max(round((terms / use.layout.fan_in) ** (1 / len(use.layout.kernel))), 1)
    for (n, m), taps in zip(list(sides)[first:], use.layout.kernel, strict=True):
        stride = steps if spread else max(round(n / m), 1)
        padding = math.floor(max((m - 1) * stride + taps - n, 0) / 2)
        places = np.arange(m)[:, None] * stride - padding + np.arange(taps)
        share *= float(((places >= 0) & (places < n)).mean())
        if spread:  # what is known of all outputs is that they share the taps that land
            share *= m * stride / n
    return share


def _bias(op: Op, filled: dict[str, Initializer | None]) -> tuple[float, float]:
    """Return the mean and variance of an operation's bias."""
    for use in op.uses:
        initializer = filled.get(use.slot)
        if use.slot in ("bias", "shift") and initializer is not None and not use.through:
            return moments(initializer, use)
    return 0.0, 0.0


def moments(initializer: Initializer, use: Use) -> tuple[float, float]:
    """Return the mean and variance of a parameter's elements."""
    mean = initializer.mean_for(use.layout)
    # Not std² alone: the last bits of this difference reach the digits that a plan keeps.
    square = initializer.std_for(use.layout) ** 2 + mean**2
    return mean, max(square - mean**2, 0.0)
