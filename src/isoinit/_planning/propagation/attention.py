"""Attention: softmax weights, the products with them, and products of signals in general."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

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
    products_of,
    replace,
)
from isoinit._reading.graph import Op

MANY = 64  # scores whose sum is within some percent of what it is expected to be
WITH_BIAS = ("linear", "conv1d", "conv2d")
PRODUCTS = ("matmul", "bmm", "mm", "einsum", *WITH_BIAS)


def softmax(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return weights that share the sum of one; with a causal mask, over what came before."""
    signal = inputs[0]
    size = context.graph.sizes[op.outputs[0]]
    dims = op.detail.dims
    count = size[dims[0]] if dims and dims[0] < len(size) else 2
    spread = float(np.var(signal.rows[HERE] - signal.rows[NEARBY])) / 2
    if dims and dims[0] in signal.units:
        spread = float(np.var(signal.rows[HERE]))
    mask = mask_on(context, op.inputs[0])
    count = mask.of(count)
    even = _even(count, spread, op.detail.causal or mask.causal)
    weights = np.exp(np.clip(signal.rows - signal.rows.max(), -60, 0))
    if count > MANY or not dims or dims[0] not in signal.units:
        shared = weights.mean() * count  # of many scores the sum is all but certain
    else:  # samples are units: so many of them in turn share one
        groups = [np.resize(row, (-(-SAMPLES // count), count)) for row in weights]
        shared = np.stack([np.repeat(g.sum(1), count)[:SAMPLES] for g in groups])
    return Signal(np.minimum(weights / shared, 1.0), signal.units, count, even)


def product(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return a product of two matrices: an average if one is a softmax, else a sum of terms."""
    if len(inputs) == 1:  # by itself: x @ xᵀ
        inputs = [inputs[0], inputs[0]]
    added = inputs[2].products if op.name in WITH_BIAS and len(inputs) == 3 else 0.0
    inputs = inputs[:2] if op.name in WITH_BIAS else inputs
    if len(inputs) != 2:
        return None
    sizes = context.graph.sizes
    units = frozenset({len(sizes.get(op.outputs[0], (1,))) - 1})
    for place, (weights, signal) in enumerate((inputs, inputs[::-1])):
        if weights.shares:
            alone = op.detail.summed[1 - place :][:1] == ((0,),)
            found = _attended(context, _as_places(signal) if alone else signal, weights.even)
            found = _as_examples(found) if alone else found
            return replace(found, units=_kept_units(op, 1 - place, signal, units))
    read = sizes.get(op.inputs[min(1, len(op.inputs) - 1)], ())
    if not read or len(op.detail.summed) < 2:
        return None
    if _tied(context, op):
        return None
    terms = math.prod(read[axis] for axis in op.detail.summed[1] if axis < len(read))
    left, right = inputs
    row, column = len(read) - 2, len(sizes.get(op.inputs[-1], ())) - 1
    pairs = _apart(left, row + 1) * _apart(right, column - 1)
    mean = left.mean * right.mean * terms
    second = terms * (left.second * right.second + (terms - 1) * pairs)
    near = terms * (_apart(left, row) * right.second + (terms - 1) * pairs)
    far = terms * left.products[HERE, ACROSS] * right.products[HERE, ACROSS]
    far += terms * (terms - 1) * (left.mean * right.mean) ** 2
    found = gaussian(context.rng, products_of(second, near, far) - mean**2 + added, units)
    unlike = units if column in right.unlike else frozenset[int]()
    return replace(found, rows=found.rows + mean, unlike=unlike)


def _kept_units(op: Op, place: int, signal: Signal, units: frozenset[int]) -> frozenset[int]:
    """Return where the units of what is attended to lie: mostly along the last axis."""
    if place >= len(op.detail.becomes):
        return units
    becomes = op.detail.becomes[place]
    new = {becomes[axis] for axis in signal.units if axis < len(becomes)}
    kept = frozenset(axis for axis in new if axis is not None)
    return units if not kept or units & kept else kept


def _as_places(signal: Signal) -> Signal:
    """Return the first axis as that of places: of nodes of one graph, which attend to each other."""
    return replace(signal, rows=signal.rows[[HERE, ACROSS, ACROSS]])


def _as_examples(signal: Signal) -> Signal:
    """Return places as the first axis again."""
    return replace(signal, rows=signal.rows[[HERE, NEARBY, NEARBY]])


def _tied(context: Context, op: Op) -> bool:
    """Return whether the factors of a product are no independent signals.

    One of them is a matrix of the example, such as who is whose neighbour, whose numbers matter; or
    they are one signal.
    """
    factors = [op.inputs[0], op.inputs[min(1, len(op.inputs) - 1)]]
    raw = [value in context.of_example for value in factors]
    return any(raw) or len({context.graph.trunk(value) for value in factors}) < 2


def _apart(signal: Signal, axis: int) -> float:
    """Return the mean product of two elements that lie apart along an axis, of units or of places."""
    return signal.mean**2 if axis in signal.units else signal.nearby()


def scaled_dot_product(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return `scaled_dot_product_attention`, whose scores have the variance q² · k²."""
    if len(inputs) == 2:  # keys and values are one
        inputs = [*inputs, inputs[1]]
    elif len(inputs) == 1:
        inputs = [inputs[0]] * 3
    query, key, value = inputs[:3]
    sizes = context.graph.sizes
    read = sizes.get(op.inputs[min(len(op.inputs), 3) - 1], (1, 1))
    mask = mask_of(context, op)
    spread = op.detail.power * query.second * key.second
    even = _even(mask.of(read[-2]), spread, mask.causal)
    units = frozenset({len(sizes.get(op.outputs[0], (1,))) - 1})
    return replace(_attended(context, value, even), units=units)


def packed(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return torch's own multi-head attention up to its output projection."""
    filled = context.ask(op, inputs[-1])  # values: what comes out is made of them
    use = next((use for use in op.uses if use.slot == "weight"), None)
    weight = filled.get("weight")
    if use is None or weight is None:
        return None
    value = inputs[-1]
    factor = weight.std_for(use.layout) ** 2 * use.layout.fan_in
    count = context.graph.sizes.get(op.inputs[-1], (1,))[0]
    even = _even(count, factor**2 * inputs[0].second * value.second, op.detail.causal)
    projected = gaussian(context.rng, value.products * factor, frozenset({2}))
    return _attended(context, projected, even)


class Mask(NamedTuple):
    """What masks leave of the places that attention looks at.

    Attributes:
        causal: whether each place looks at those before it alone.
        left: the share of places that other masks leave.
    """

    causal: bool
    left: float

    def of(self, count: int) -> int:
        """Return how many of so many places are left."""
        return max(round(count * self.left), 1)


def mask_on(context: Context, value: int) -> Mask:
    """Return the masks that were added or filled in on the way to a value."""
    left = 1.0
    for _ in range(6):
        op = context.graph.producers.get(value)
        if op is None or op.kind not in ("move", "other") or not op.inputs:
            break
        left *= op.detail.left
        if op.detail.causal:
            return Mask(causal=True, left=left)
        value = op.inputs[0]
    return Mask(causal=False, left=left)


def mask_of(context: Context, op: Op) -> Mask:
    """Return the masks of fused attention."""
    causal, left = mask_on(context, op.inputs[3]) if len(op.inputs) > 3 else (False, 1.0)
    return Mask(op.detail.causal or causal, op.detail.left * left)


def _attended(context: Context, signal: Signal, even: float) -> Signal:
    """Return an average over places by softmax weights whose squares sum to `even`."""
    if context.nominal:
        return signal
    products, near = signal.products, signal.nearby(1 / even)
    far = products[HERE, ACROSS]
    both = min(products[NEARBY, ACROSS], far)
    second = near + (products[HERE, HERE] - near) * even
    nearby, across = near + (second - near) / 2, both + (far - both) * even
    return of_moments(context.rng, signal, second, nearby, across)


def _even(count: int, spread: float, causal: bool) -> float:
    """Return the expected sum of squares of softmax weights whose scores have this variance.

    Of n Gaussian scores of variance s², E[w²] is about exp(s²)/n² while n is well above exp(s²), and
    no sum of squares exceeds one: 1/(1 + (n - 1)·exp(-s²)) joins the two.
    """
    counts = np.arange(1, count + 1) if causal else np.array([count])
    return float(np.mean(1 / (1 + (counts - 1) * math.exp(-min(spread, 50.0)))))
