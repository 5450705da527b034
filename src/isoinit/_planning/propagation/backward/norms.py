"""Gradients behind norm layers: what would only change the mean or the size is taken away."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isoinit._planning.propagation.backward.gradient import Backward, Gradient, unknown
from isoinit._planning.propagation.samples import ACROSS, HERE, NEARBY, Signal
from isoinit._reading.graph import Op

CENTRED = ("layer_norm", "group_norm", "instance_norm", "batch_norm")


def normed(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return (g - mean(g) - x̂ mean(g x̂)) / σ, the means over what the layer normalizes.

    Source: Ioffe & Szegedy 2015, section 3; Ba et al. 2016, section 3.
    """
    others = unknown(op)[1:]
    if not op.detail.live:
        return [gradient, *others]
    signal = back.context.signals.get(op.inputs[0])
    if signal is None:
        return unknown(op)
    return [_behind(back, op, gradient, signal, op.inputs[0]), *others]


def normed_in_steps(back: Backward, op: Op, gradient: Gradient, value: int) -> Gradient | None:
    """Return the same for a norm layer that the model spells out in single operations."""
    signal = back.context.signals.get(value)
    return None if signal is None else _behind(back, op, gradient, signal, value)


def _behind(
    back: Backward, op: Op, gradient: Gradient, signal: Signal, value: int
) -> Gradient | None:
    centred = op.name in CENTRED
    variance = _variance(back, op, signal, value)
    given = back.here(op.outputs[0])
    if not variance > 0 or given is None:
        return None
    normal = given - given.mean() if centred else given
    row = gradient.row - gradient.row.mean() if centred else gradient.row
    row = row - normal * (float(row @ normal) / max(float(normal @ normal), 1e-300))
    left = Gradient(row, gradient.near)
    lost, alike = _lost(back, op, left, value, centred)
    left = left.resized(left.second - lost, gradient.near - alike)
    return left.times(math.sqrt(back.context.graph.second_of_norm(op) / variance))


def _variance(back: Backward, op: Op, signal: Signal, value: int) -> float:
    """Return the variance that a norm layer divides by."""
    if op.name not in CENTRED:
        return signal.second
    if op.name == "batch_norm":  # what all examples share, and all places, is taken away
        shared = signal.products[HERE, ACROSS]
        if len(back.size(value)) > 2:
            shared = min(shared, signal.products[HERE, NEARBY])
        return signal.second - min(float(shared), 0.99 * signal.second)
    mean = signal.mean**2
    if not op.detail.groups:
        return signal.second - mean
    units, places = _grouped(back, op, value)
    near = float(signal.products[HERE, NEARBY])
    return signal.second - mean - (signal.second - near) / (units * places) - (near - mean) / units


def _grouped(back: Backward, op: Op, value: int) -> tuple[float, int]:
    """Return how many units, and how many places, a norm over the places of an example takes."""
    size = back.size(value)
    return max(size[1] / op.detail.groups, 1.0), math.prod(size[2:])


def _lost(
    back: Backward, op: Op, gradient: Gradient, value: int, centred: bool
) -> tuple[float, float]:
    """Return what means over few elements take of a mean square, and of the product of two places.

    The mean itself is the same at all places, and its part along x̂ as much as x̂ is.
    """
    size = back.size(value)
    second, near = gradient.second, gradient.near
    if len(size) < 2:
        return 0.0, 0.0
    if not op.detail.groups and op.name != "batch_norm":
        return (1 + centred) * second / size[-1], 0.0
    alike = back.alike(value)
    places = math.prod(size[2:])
    units = _grouped(back, op, value)[0] if op.detail.groups else math.inf
    alike = alike * (1 - 1 / units) / max(1 - alike / units, 1e-9)  # without the group's own mean
    terms = places * (size[0] if op.name == "batch_norm" else units)
    others = (places - 1) * near
    mean = (second + others) / terms
    along = (second + others * alike) / terms
    return mean + along, mean + alike * (second + others * (2 - alike)) / terms
