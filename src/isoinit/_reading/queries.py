"""Queries and keys: the layers that make them, and how large attention leaves its scores.

Scores are sums of products, of as many terms as a head is wide. Most models divide them by the root of
that, on the scores, on the queries, or on both sides in equal parts; T5 and non-local blocks do not,
and a softmax of large scores is saturated. One of small scores starts even, which no paper minds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from isoinit._reading.generated import inner_product, terms
from isoinit._reading.graph import BESIDE, SUMS, Array, Graph, Op, ReplayError

NEAR = 16  # operations: further off than a projection is from the softmax of its scores
FAR = 32  # values that a side of a product is made of: rotary positions take a dozen steps
STEP = 2.0**-10  # around 0, where a function that caps scores is straight
ABOUT_ONE = 1.05  # of a second moment: constants, such as those of rotary positions, are sampled
JOINED = SUMS | BESIDE | {"mul"}  # what queries are made of several signals by
MASKS = SUMS | {"where", "masked_fill"}  # by constants that may be too large to be kept
FUSED = "scaled_dot_product_attention"

Large = tuple[set[int], set[int], float]
Makers = Mapping[int, float]  # the second moment that a unit output leaves, by the layer's index


def queries_and_keys(graph: Graph) -> Iterator[tuple[str, float]]:
    """Yield the weights of queries and keys whose scores start large, and the scores' second moment.

    The second moment is that of queries and keys which leave their layers with unit variance. A layer
    that makes the values, too, is left out: these keep their size.
    """
    for makers, of_values, second in _large(graph):
        yield from ((name, second) for name in _weights(graph, makers - of_values))


def packed(graph: Graph) -> Iterator[tuple[str, float]]:
    """Yield the weights that make values as well as queries and keys whose scores start large."""
    for makers, of_values, second in _large(graph):
        yield from ((name, second) for name in _weights(graph, makers & of_values))


def learned_queries(graph: Graph) -> Iterator[tuple[str, float]]:
    """Yield weights whose outputs over √n are the scores of a softmax, and n, the terms of each.

    They are queries that are learned themselves. A division by another number is a temperature, which
    the model's author chose.
    """
    softmaxes = [op for op in graph.ops if op.inputs and op.name == "softmax"]
    for maker, factor in (one for op in softmaxes for one in graph.once(_behind, op.inputs[0])):
        weights = [use for use in maker.uses if use.slot == "weight"]
        count = weights[0].whole.fan_in if len(weights) == 1 and maker.kind == "map" else 0
        if count > 1 and 1 / ABOUT_ONE < factor * count < ABOUT_ONE:
            yield weights[0].parameter, count


def _large(graph: Graph) -> Iterator[Large]:
    """Yield the layers of queries and keys, those of values, and the second moment of large scores."""
    for op in graph.ops:
        if op.inputs and op.name in (FUSED, "softmax"):
            found = graph.once(_large_scores, op.outputs[0])
            if found is not None:
                yield found


def _large_scores(graph: Graph, value: int) -> Large | None:
    op = graph.producers[value]
    makers, second = _scores(graph, op)
    return (makers, _values(graph, op), second) if makers and second > ABOUT_ONE else None


def _weights(graph: Graph, indices: Collection[int]) -> list[str]:
    uses = [use for op in graph.ops if op.index in indices for use in op.uses]
    return [use.parameter for use in uses if use.slot == "weight"]


def _scores(graph: Graph, op: Op) -> tuple[set[int], float]:
    """Return the layers of queries and keys, and the second moment of their scores."""
    found, second = set[int](), 0.0
    for sides, factor in _products(graph, op):
        makers = [_makers(graph, value, {}) for value in sides]
        if all(makers):  # of any other side the size is not known: it may be normed, or scaled
            found.update(*makers)
            second += factor * math.prod(max(side.values()) for side in makers)
    return found, second


def _products(graph: Graph, op: Op) -> Iterator[tuple[Sequence[int], float]]:
    """Yield the sides of the products that scores are a sum of, and each product's second moment."""
    if op.name == FUSED:
        if len(op.inputs) >= 3:
            yield op.inputs[:2], op.detail.power
        return
    for maker, factor in graph.once(_behind, op.inputs[0]):
        if sides := inner_product(graph, maker):
            yield [side.value for side in sides], factor * terms(graph, sides[0])


def _behind(graph: Graph, value: int) -> list[tuple[Op, float]]:
    """Return the products and layers that make scores, and what multiplies their second moment."""
    found, waiting, seen = list[tuple[Op, float]](), [(value, 1.0)], set[int]()
    while waiting and len(seen) < NEAR:
        value, factor = waiting.pop(0)
        maker = graph.producers.get(value)
        if maker is None or maker.index in seen:
            continue
        seen.add(maker.index)
        if maker.kind == "map" or inner_product(graph, maker):
            found.append((maker, factor))
        elif maker.kind in ("move", "other") and (slopes := _slopes(maker, -STEP, STEP)).any():
            factor *= float(np.mean(np.abs(slopes[slopes != 0]) ** 2))  # 0: under a mask
            waiting += [(each, factor) for each in maker.inputs]
    return found


def _makers(graph: Graph, value: int, known: dict[int, Makers]) -> Makers:
    """Return the layers that a side of a product is made by, with nothing but linear steps between.

    Args:
        graph: the model's.
        value: the side.
        known: what was found of values behind it, which is kept here.
    """
    if value not in known:
        op = graph.producers.get(value)
        known[value] = {}  # also what is too far off
        if op is not None and len(known) < FAR:
            known[value] = _made(graph, op, known)
    return known[value]


def _made(graph: Graph, op: Op, known: dict[int, Makers]) -> Makers:
    if (
        op.index in graph.joins
        or op.index in graph.norms
        or op.kind not in ("map", "move", "other")
    ):
        return {}
    if op.kind == "map":
        return {op.index: 1.0} if op.uses else {}
    slopes = _slopes(op, 0.0, 1.0)
    others = [_slopes(op, *ends) for ends in ((-1.0, 0.0), (1.0, 3.0))]
    straight = all(len(slopes) == len(other) and np.allclose(slopes, other) for other in others)
    many = len(op.inputs) > 1 and op.kind != "move" and op.name not in JOINED
    if many or not straight or not slopes.size:
        return {}
    before = [_makers(graph, each, known) for each in op.inputs]
    joined = sum if op.name in SUMS else max  # rotary positions sum two parts of one layer's output
    factor = float(np.mean(np.abs(slopes) ** 2))  # a turn by a complex constant leaves the size
    layers = dict.fromkeys(index for each in before for index in each)
    return {k: factor * joined(each[k] for each in before if k in each) for k in layers}


def _values(graph: Graph, op: Op) -> set[int]:
    """Return the layers that make what attention averages."""
    if op.name == FUSED:
        return {*_makers(graph, op.inputs[2], {})} if len(op.inputs) >= 3 else set()
    found, waiting, reached = set[int](), [op.outputs[0]], {op.outputs[0]}
    while waiting and len(reached) < NEAR:
        for reader in graph.consumers.get(waiting.pop(0), []):
            if sides := inner_product(graph, reader):
                for other in {side.value for side in sides} - reached:
                    found.update(_makers(graph, other, {}))
            elif reader.kind in ("move", "other"):
                waiting.extend(reader.outputs)
                reached.update(reader.outputs)
    return found


def _slopes(op: Op, start: float, end: float) -> Array:
    """Return the slopes of what an operation does to its one signal; none where it is not known.

    They are 1 where it has several: a sum, or a product with another signal.
    """
    unknown = op.replay is None and op.mixed is None
    left = op.name in BESIDE or (unknown and op.name in MASKS)  # beside constants, as in a cache
    if len(op.inputs) != 1 or op.kind == "move" or op.is_neutral or left:
        return np.ones(1)
    mixed = op.mixed if op.replay is None else None
    rows = mixed.rows if mixed else ()
    replay = mixed.replay if mixed else op.play
    shape = np.broadcast_shapes((1,) * op.rank, *(row.shape for row in rows))
    try:
        ends = [np.asarray(replay([np.full(shape, x), *rows])[0]) for x in (start, end)]
    except ReplayError:
        return np.zeros(0)
    if ends[0].dtype == bool:  # a mask that is made of the signal
        return np.zeros(0)
    with np.errstate(invalid="ignore"):  # two masked scores are infinite alike
        slopes = (ends[1] - ends[0]) / (end - start)
    return slopes[np.isfinite(slopes)]
