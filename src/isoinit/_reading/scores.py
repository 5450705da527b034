"""Scores: inner products of two vectors that a model gives as they are, as of a user and an item.

A sum over d terms of two vectors of unit size has a variance of d, and nothing behind it takes that
back: the vectors share a factor of 1/d. What is added to a score row by row is a bias.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isoinit._reading.estimates import LOSSES
from isoinit._reading.generated import Factor, inner_product, reached, terms, units_of_map
from isoinit._reading.graph import SUMS, Graph, Op

FAR = 24  # operations between a product and the model's end
ENDS = LOSSES | frozenset(
    "sigmoid logsigmoid cross_entropy nll_loss binary_cross_entropy "
    "binary_cross_entropy_with_logits margin_ranking_loss".split()
)


NEAR = 4  # operations between a product and the softmax of it: a scale, a mask, moves


def makes_scores(graph: Graph, op: Op, steps: int = NEAR) -> bool:
    """Return whether a softmax reads what an operation makes, at most some other steps behind it."""
    waiting = list(op.outputs)
    for _ in range(steps):
        readers = [reader for value in waiting for reader in graph.consumers.get(value, [])]
        if any("softmax" in reader.name for reader in readers):
            return True
        waiting = [v for r in readers if r.kind in ("move", "other") for v in r.outputs]
    return False


def score_factors(graph: Graph) -> Iterator[tuple[str, float]]:
    """Yield tables and weights that make the vectors of a score, and the second moment of these.

    A vector that something else makes, such as a norm layer, keeps its size, and the other takes all.
    """
    for op in graph.ops:
        sides = inner_product(graph, op)
        scale = _scale_to_end(graph, op.outputs[0]) if sides else None
        if scale is None:
            continue
        share = scale**2 * terms(graph, sides[0])
        makers = [maker for side in sides if (maker := _maker(graph, side.value)) is not None]
        vectors = all(_sums_units(graph, side) for side in sides)
        if share > 1 and vectors:
            names = [name for maker in makers for name in _parameters(maker)]
            yield from ((name, share ** (-1 / len(makers))) for name in names)


def row_biases(graph: Graph) -> Iterator[str]:
    """Yield tables of one number a row that is added to a signal, perhaps after a sum of rows."""
    for op in graph.ops:
        uses = [use for use in op.uses if use.slot == "table" and use.whole.fan_out == 1]
        if op.kind == "lookup" and op.inputs and uses and _joins_signal(graph, op.outputs[0]):
            yield from (use.parameter for use in uses)


def scale_of_output(graph: Graph, op: Op) -> float:
    """Return the constants that the model multiplies by right before an output layer and behind it."""
    scale, value = 1.0, op.inputs[0]
    while (maker := graph.producers.get(value)) is not None and len(maker.inputs) == 1:
        factor = _passes(maker)
        if factor is None or maker.uses:
            break
        scale, value = scale * factor, maker.inputs[0]
    return scale * (_scale_to_end(graph, op.outputs[0]) or 1.0) or 1.0


def _scale_to_end(graph: Graph, value: int) -> float | None:
    """Return what multiplies a value on its way to the model's end; None if it goes elsewhere."""
    scale = 1.0
    for _ in range(FAR):
        readers = graph.consumers.get(value, [])
        if value in graph.outputs or any(reader.name in ENDS for reader in readers):
            return scale
        if len(readers) != 1:
            return None
        (reader,) = readers
        factor = None if reader.index in graph.joins else _passes(reader)
        if factor is None:
            return None
        scale, value = scale * factor, reader.outputs[0]
    return None


def _passes(op: Op) -> float | None:
    """Return what an operation multiplies a score by; None where it does something else with it."""
    if op.kind == "move" or op.is_neutral or op.name in SUMS:
        return 1.0
    if op.name in ("mul", "div") and len(op.inputs) == 1 and op.replay is not None:
        return abs(float(np.ravel(op.play([np.ones(1)])[0])[0]))
    return None


def _maker(graph: Graph, value: int) -> Op | None:
    """Return the lookup or layer that makes a vector; None where something else sets its size."""
    while (op := graph.producers.get(value)) is not None and op.index not in graph.norms:
        if op.kind in ("lookup", "map"):
            return op if op.inputs and _parameters(op) else None
        plain = (op.kind == "move" and not graph.is_part(op)) or op.is_neutral
        if not plain or len(op.inputs) != 1:
            return None
        value = op.inputs[0]
    return None


def _parameters(op: Op) -> list[str]:
    return [use.parameter for use in op.uses if use.slot in ("table", "weight")]


def _sums_units(graph: Graph, side: Factor) -> bool:
    """Return whether a product sums over all units of what made one of its sides.

    What leaves some of them is no score: a weighted sum of what experts give is one for each unit.
    """
    for op, made in reached(graph, side):
        if op.kind == "map" and op.uses:
            return units_of_map(graph, op) <= made.summed
        if op.kind == "lookup":
            return len(graph.sizes[op.outputs[0]]) - 1 in made.summed
    return True


def _joins_signal(graph: Graph, value: int) -> bool:
    for _ in range(FAR):
        readers = graph.consumers.get(value, [])
        if len(readers) != 1:
            return False
        (reader,) = readers
        if reader.name in SUMS and len(reader.inputs) > 1:
            others = [graph.producers.get(graph.trunk(v)) for v in reader.inputs if v != value]
            if any(other is None or other.kind != "lookup" for other in others):
                return True
        elif reader.kind != "move" and reader.name not in ("sum", "mean"):
            return False
        value = reader.outputs[0]
    return False
