"""Gradients behind operations that move, average, pick or join places and units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isoinit._planning.propagation.backward.gradient import (
    NOTHING,
    Backward,
    Gradient,
    aligned,
    summed,
    unknown,
)
from isoinit._planning.propagation.samples import SAMPLES
from isoinit._reading.graph import Op

AVERAGES = ("avg_pool", "adaptive_avg_pool")


def moved(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradient at where its elements came from; what was not picked gets none."""
    others: list[Gradient | None] = [NOTHING] * (len(op.inputs) - 1)  # they tell which elements
    share = back.per(op.outputs[0], op.inputs[0])
    if op.name == "detach":
        return [NOTHING, *others]
    if share is None:
        return unknown(op)
    if op.name.startswith(AVERAGES):
        return [_pooled(back, op, gradient, share), *others]
    if op.detail.power != 1.0:  # dropout
        gradient = gradient.times(math.sqrt(op.detail.power))
    reordered = back.context.graph.reorders(op)
    if share == 1 and not reordered:
        return [gradient, *others]
    if share < 1 or reordered:
        gradient = aligned(gradient, back.here(op.outputs[0]), back.here(op.inputs[0]))
    if op.name == "pad" and op.detail.inside < 1:
        return [gradient, *others]
    if op.name == "getitem" and op.detail.axes and op.detail.axes[:2] == ((0,), (0,)):
        gradient = replace(gradient, near=0.0)  # of rows that are looked up from other places
    if share >= 1:
        return [summed(gradient, share), *others]
    return [_where_picked(back, op, gradient, share), *others]


def _pooled(back: Backward, op: Op, gradient: Gradient, share: float) -> Gradient:
    """Return the gradient behind averages: each element is in `share` · window of them."""
    window = op.detail.window or max(round(1 / share), 1)
    places = math.prod(back.size(op.inputs[0])[2:])
    together = min((window - 1) / max(places - 1, 1), 1.0)  # how often two places are in one
    found = summed(gradient, share * window).times(1 / window)
    return replace(found, near=found.near + together * (found.second - found.near))


def _where_picked(back: Backward, op: Op, gradient: Gradient, share: float) -> Gradient:
    """Return the gradient of what some elements were picked from: the others get none.

    Units are picked at all places alike. Of two places, both are picked by the square of the share.
    """
    signal = back.context.signals.get(op.inputs[0])
    before, after = back.size(op.inputs[0]), back.size(op.outputs[0])
    same = signal is None or len(before) != len(after)
    units = not same and signal is not None and any(before[a] != after[a] for a in signal.units)
    found = gradient.times(math.sqrt(share))
    return found if units else replace(found, near=found.near * share)


def split(back: Backward, op: Op) -> Gradient | None:
    """Return the gradient of what an operation cut into parts, each of them one of its outputs.

    Every element belongs to one part, so the gradients of parts don't add up: each stands at its share
    of the samples.
    """
    given = back.here(op.inputs[0])
    order = np.random.default_rng(op.index).permutation(SAMPLES)
    row, second, near, end = np.zeros(SAMPLES), 0.0, 0.0, 0.0
    for value in op.outputs:
        gradient = back.gradients.get(value, NOTHING)
        share = back.per(value, op.inputs[0])
        if gradient is None or share is None:
            return None
        share = min(share, 1.0)
        own = order[round(end * SAMPLES) : round((end + share) * SAMPLES)]
        row[own] = aligned(gradient, back.here(value), given).row[own]
        second, near, end = (
            second + share * gradient.second,
            near + share * gradient.near,
            end + share,
        )
    return Gradient(row).resized(second, near) if second else NOTHING


def reduced(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradient behind a mean or sum: the same one at all elements that it was made of."""
    count = back.per(op.inputs[0], op.outputs[0])
    signal = back.context.signals.get(op.inputs[0])
    if count is None or signal is None:
        return unknown(op)
    if op.name == "mean":
        gradient = gradient.times(1 / count)
    rank = len(back.size(op.inputs[0]))
    places = {dim for dim in op.detail.dims if dim < rank} - signal.units
    return [Gradient(gradient.row, gradient.second if places else gradient.near)]


def joined(_back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradient of signals side by side, to each of them."""
    return [gradient] * len(op.inputs)


def picked(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradient of the largest elements, which were picked; the others get none.

    The gradient goes to those samples of the input that have the values of the output: a function
    before may be flat there.
    """
    others: list[Gradient | None] = [NOTHING] * (len(op.inputs) - 1)
    share = back.per(op.outputs[0], op.inputs[0])
    given, made = back.here(op.inputs[0]), back.here(op.outputs[0])
    if share is None or share > 1 or given is None or made is None:
        return unknown(op)
    order = np.argsort(given)
    ranks = np.minimum(np.searchsorted(given[order], made), SAMPLES - 1)
    squares = np.bincount(order[ranks], np.square(gradient.row), SAMPLES) * share
    near = _where_picked(back, op, gradient, share).near
    return [Gradient(back.noise(1.0).row * np.sqrt(squares), near), *others]


def scattered(_back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradient of elements that were each added at one place: that of the place."""
    return [gradient] * len(op.inputs)
