"""Gradients behind the parameters of an operation: weights, scales, slopes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isoinit._planning.propagation.backward.gradient import Backward, Gradient, unknown
from isoinit._planning.propagation.samples import SAMPLES
from isoinit._reading.graph import Array, Op, Use
from isoinit.initializers import LooksLinear


def weighted(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return Wᵀg: Gaussian, of variance Var(w) · E[g²] times the outputs that an input reaches.

    An output sums fan_in terms, so of n outputs and m inputs each input is in fan_in · n/m of them
    (He et al. 2015, section 2.2, for any stride, padding and number of groups).
    """
    use = next((use for use in op.uses if use.slot == "weight"), None)
    moments = back.context.moments(op, use, None) if use else None
    if use is None or moments is None:
        return unknown(op)
    weight, layout = back.context.fill(op, use, None), use.whole
    mirror = weight.mirror if isinstance(weight, LooksLinear) else ""
    power = moments.second
    near = power * _near(back, op, use, gradient)
    second = power * gradient.second
    if mirror in ("out", "both"):  # its outputs are x and -x
        half = gradient.row[: SAMPLES // 2] - gradient.row[SAMPLES // 2 :]
        second = power * float(half @ half) / SAMPLES
    terms = layout.fan_in * op.detail.inside
    if weight is not None and weight.centre_alone and layout.kind == "conv":
        terms = math.prod(layout.maps_shape[2:])
    found: list[Gradient | None] = []
    for place, value in enumerate(op.inputs):
        share = back.per(op.outputs[0], value)
        count = layout.fan_out if share is None else terms * share
        for other in (*op.inputs[:place], *op.inputs[place + 1 :]):  # bilinear: a product of two
            signal = back.context.signals.get(other)
            count *= math.nan if signal is None else signal.second
        sent = back.noise(count * second, count * near)
        found.append(None if math.isnan(count) else _mirrored(sent, mirror))
    return found


def through_parameters(back: Backward, op: Op, gradient: Gradient) -> Gradient | None:
    """Return the gradient before the scale or slope that an operation multiplies by."""
    for use in op.uses:
        if use.slot not in ("scale", "weight", "slope"):
            continue
        moments = back.context.moments(op, use, None)
        if moments is None:
            return None
        mean, variance = moments.mean, moments.variance
        if use.slot == "weight":  # that the signal scales: another one at each place
            gradient = replace(gradient.times(math.sqrt(moments.second)), near=0.0)
        elif use.slot == "scale" or op.name != "prelu":  # or a slope of a side taken apart
            gradient = gradient.times(mean if mean else math.sqrt(variance))
        elif (rows := back.here(op.inputs[0])) is None:
            return None
        else:
            slopes = np.where(rows > 0, 1.0, mean)
            gradient = replace(gradient, row=gradient.row * slopes)
    return gradient


def _near(back: Backward, op: Op, use: Use, gradient: Gradient) -> float:
    """Return the mean product of the gradients at two places of what a weight sums over."""
    signal = back.context.signals.get(op.inputs[0]) if op.inputs else None
    last = len(back.size(op.outputs[0])) - 1
    if not use.whole.kernel and signal is not None and signal.units and last not in signal.units:
        return float(gradient.row @ np.roll(gradient.row, 1)) / SAMPLES  # it mixes places
    return gradient.near


def _mirrored(gradient: Gradient, mirror: str) -> Gradient:
    """Return the gradient of units of which the second half is the first with the other sign."""
    if mirror not in ("in", "both"):
        return gradient
    half: Array = gradient.row[: SAMPLES // 2]
    both = Gradient(np.concatenate([half, -half]))
    return both.resized(gradient.second, gradient.near)
