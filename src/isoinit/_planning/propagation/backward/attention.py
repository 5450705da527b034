"""Gradients behind attention: to the values, and through the softmax to queries and keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoinit._planning.propagation.attention import mask_of, mask_on
from isoinit._planning.propagation.backward.gradient import (
    Backward,
    Gradient,
    unknown,
)
from isoinit._planning.propagation.backward.softmax import Weights, moments
from isoinit._planning.propagation.samples import HERE, NEARBY, Signal
from isoinit._reading.graph import Op


@dataclass(frozen=True)
class _Attention:
    """What the weights of an attention are like.

    Attributes:
        weights: the moments of one query's weights.
        causal: whether a query sees only keys that came before.
        keys: how many keys a query has.
        queries: how many queries there are for each key.
    """

    weights: Weights
    causal: bool
    keys: int
    queries: float

    def to_values(self, gradient: Gradient) -> tuple[float, float]:
        """Return the mean square of the gradient of a value, and the mean product of two.

        The weights of one key sum to `queries` on average. Under a causal mask early keys are seen
        by more queries: of even weights 1/i the sum of one key's is log(n/j), of mean square two.
        Two keys of one query have weights whose product is (1 - Σ a²)/(n (n - 1)) on average.
        """
        own, even = (gradient.second - gradient.near) * self.queries, self.weights.even
        shared = gradient.near * self.queries**2
        near = own * (1 - even) / max(self.keys - 1, 1) + shared
        return own * even + shared * (2 if self.causal else 1), near


def softmax(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return a (g - Σ a g): nothing is left of what all keys of one query share."""
    weights = _weights(back, op)
    made = back.context.signals.get(op.outputs[0])
    if weights is None or made is None:
        return unknown(op)
    if _over_units(back, op):
        own = made.rows[HERE]
        shares, each = own * gradient.row, made.shares - 1
        others = back.noise(each * float(np.square(shares).mean()))
        row = shares * (1 - own) - own * (others.row + each * float(shares.mean()))
        return [Gradient(row)]
    second = weights.passed / made.shares * (gradient.second - gradient.near)
    return [back.noise(second, -second / max(made.shares - 1, 1))]


def product(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradients of both sides of a product of matrices."""
    sides = [*op.inputs, *op.inputs][:2]  # one input: by itself
    signals = [back.context.signals.get(value) for value in sides]
    if len(op.inputs) > 2 or None in signals:
        return unknown(op)
    left, right = (signal for signal in signals if signal is not None)
    found: list[Gradient | None] = []
    for place, other in enumerate((right, left)):
        value = sides[place]
        if other.shares:
            found.append(_averaged(back, op, gradient, sides[1 - place], value))
            continue
        counts = _terms(back, op, left, right), back.per(op.outputs[0], value)
        if counts[0] is None or counts[1] is None:
            return unknown(op)
        # Of scores the left side sums over keys, whose gradients sum to zero.
        near = gradient.near if place == 0 and not left.shares else 0.0
        found.append(_dotted(back, gradient.second, near, other, counts[0] * counts[1]))
    if len(op.inputs) == 1:
        return [a.plus(b) if a and b else None for a, b in [found]]
    return found


def scaled_dot_product(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradients of queries, keys and values, and of a mask that was computed."""
    values = [*op.inputs[:3], op.inputs[-1], op.inputs[-1]][:3]
    signals = [back.context.signals.get(value) for value in values]
    per = [back.per(op.outputs[0], value) for value in values]
    if None in signals or None in per:
        return unknown(op)
    query, key, value = (signal for signal in signals if signal is not None)
    size, read = back.size(values[0]), back.size(values[1])
    mask = mask_of(back.context, op)
    keys, spread = mask.of(read[-2]), op.detail.power * query.second * key.second
    queries = math.prod(size[:-1]) / math.prod(read[:-1])
    attention = _Attention(moments(keys, spread, mask.causal), mask.causal, keys, queries)
    found = _sent(back, attention, gradient, (query, key, value), op.detail.power)
    if len(op.inputs) < 3:
        merged = found[1].plus(found[2])
        return [found[0], merged] if len(op.inputs) == 2 else [found[0].plus(merged)]
    return [*found, *[None] * (len(op.inputs) - 3)]


def packed(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradients behind torch's own multi-head attention and its projections."""
    use = next((use for use in op.uses if use.slot == "weight"), None)
    weight = back.context.fill(op, use, None) if use else None
    signals = [back.context.signals.get(value) for value in op.inputs]
    if use is None or weight is None or None in signals or not signals:
        return unknown(op)
    known = [signal for signal in signals if signal is not None]
    size, read = back.size(op.inputs[0]), back.size(op.inputs[-1])
    factor = weight.std_for(use.layout) ** 2 * use.layout.fan_in
    spread = factor**2 * known[0].second * known[-1].second
    weights = moments(read[0], spread, op.detail.causal)
    queries = math.prod(size[:-1]) / math.prod(read[:-1])
    attention = _Attention(weights, op.detail.causal, read[0], queries)
    given = known[0], known[min(1, len(known) - 1)], known[-1]
    found = _sent(back, attention, gradient, given, 1.0, factor)
    sent = [back.noise(g.second * factor, g.near * factor) for g in found]
    if len(known) == 1:
        return [sent[0].plus(sent[1]).plus(sent[2])]
    return sent if len(known) == 3 else [sent[0], sent[1].plus(sent[2])]


def _sent(
    back: Backward,
    attention: _Attention,
    gradient: Gradient,
    signals: tuple[Signal, Signal, Signal],
    power: float,
    factor: float = 1.0,
) -> list[Gradient]:
    """Return the gradients of queries, keys and values of one attention.

    A score's gradient is its weight times what its value differs from the average by, along the
    gradient. Summed over the keys of a query it is zero: so what all keys share takes no part.

    Args:
        back: the walk.
        attention: what the softmax gives.
        gradient: that of the output.
        signals: queries, keys and values, or what they were projected from.
        power: the variance of a score, if queries and keys have unit size.
        factor: what the projections do to a second moment.
    """
    query, key, value = signals
    differs = power * factor**2 * (value.second - value.products[HERE, NEARBY])
    own = attention.weights.passed * differs
    keys = key.second - key.products[HERE, NEARBY]
    queries, near = attention.queries, query.products[HERE, NEARBY]
    to_key = queries * own * gradient.second * query.second
    to_key += queries**2 * differs * gradient.near * near
    return [
        back.noise(own * gradient.second * keys, own * gradient.near * keys),
        back.noise(to_key),
        back.noise(*attention.to_values(gradient)),
    ]


def _averaged(
    back: Backward, op: Op, gradient: Gradient, weights: int, value: int
) -> Gradient | None:
    """Return the gradient of what softmax weights, another value, were multiplied with."""
    queries = back.per(op.outputs[0], value)
    maker = _softmax_behind(back, weights)
    known = None if maker is None else _weights(back, maker)
    signal = back.context.signals.get(weights)
    if queries is None or known is None or signal is None:
        return None
    causal = mask_on(back.context, weights).causal
    attention = _Attention(known, causal, signal.shares, queries)
    return back.noise(*attention.to_values(gradient))


def _softmax_behind(back: Backward, value: int) -> Op | None:
    """Return the softmax that a value comes from, through dropout and other moves."""
    while (op := back.context.graph.producers.get(value)) is not None and op.name != "softmax":
        if op.kind != "move":
            return None
        value = op.inputs[0]
    return op


def _over_units(back: Backward, op: Op) -> bool:
    """Return whether a softmax chooses among units, as a router does, and not among places."""
    signal = back.context.signals.get(op.inputs[0])
    return signal is not None and not signal.units.isdisjoint(op.detail.dims)


def _weights(back: Backward, op: Op) -> Weights | None:
    """Return the moments of the weights that a softmax gives."""
    signal = back.context.signals.get(op.inputs[0])
    made = back.context.signals.get(op.outputs[0])
    if signal is None or made is None or not made.shares:
        return None
    rows = signal.rows
    units = _over_units(back, op)
    spread = np.var(rows[HERE]) if units else np.var(rows[HERE] - rows[NEARBY]) / 2
    causal = op.detail.causal or mask_on(back.context, op.inputs[0]).causal
    return moments(made.shares, float(spread), causal)


def _terms(back: Backward, op: Op, left: Signal, right: Signal) -> float | None:
    """Return how many terms a product sums."""
    if left.shares or right.shares:
        return float(left.shares or right.shares)
    read = back.size(op.inputs[min(1, len(op.inputs) - 1)])
    if not read or len(op.detail.summed) < 2:
        return None
    return float(math.prod(read[axis] for axis in op.detail.summed[1] if axis < len(read)))


def _dotted(back: Backward, second: float, near: float, other: Signal, count: float) -> Gradient:
    """Return the sum of `count` products of a gradient and the other side of a product."""
    own = count * second * other.second
    shared = count * max(count - 1, 0.0) * near * other.products[HERE, NEARBY]
    alike = count * second * other.products[HERE, NEARBY]
    return back.noise(max(own + shared, 0.0), alike)
