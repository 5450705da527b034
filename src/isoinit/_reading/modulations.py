"""Layers whose outputs scale and shift another signal: couplings of flows, adaptive norms, deviations.

A scale is known by what it does at zero: a factor that is about one there, such as exp(s) or 1 + s, or
one that ends a residual branch and is zero there. So is how far a stream moves along what no weight
made, as points do along their differences. A model may also return a scale: the deviation exp(s).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from isoinit._reading.graph import SUMS, Array, Graph, Op, ReplayError

FAR = 16  # operations between a layer and the product that its output is a factor of
ROW = 8  # elements, so that a share of them (softmax) is no factor near one
# A factor at zero that leaves a signal as it is, more or less. A sigmoid halves it: a gate, which
# chooses, and does not scale.
LEAST, MOST = 0.5, 2.0
# What adds up what neighbours give.
GATHERING = frozenset("sum mean index_add scatter_add scatter_reduce".split())
CENTRED = 1e-3  # of the mean square: the square of the mean of noise, which is drawn evenly


class _Part(NamedTuple):
    """What a layer's output is a function of single elements away from.

    Attributes:
        layer: the layer.
        value: its output, or the part of it that was taken.
        at_zero: the function's value where the layer gives zero.
    """

    layer: Op
    value: int
    at_zero: float


def modulating_weights(graph: Graph) -> Iterator[str]:
    """Yield the weights of layers all of whose outputs scale or shift another signal."""
    found: dict[int, set[int]] = {}
    for op in graph.ops:
        for part in _parts(graph, op):
            found.setdefault(part.layer.index, set()).add(part.value)
    for value in graph.outputs:
        returned = _of_layer(graph, value, bent=True)
        if returned is not None and LEAST < returned.at_zero < MOST:
            found.setdefault(returned.layer.index, set()).add(returned.value)
    for op in graph.ops:
        parts = found.get(op.index, set())
        covered = sum(math.prod(graph.sizes[value]) for value in parts)
        if parts and covered == math.prod(graph.sizes[op.outputs[0]]):
            yield from (use.parameter for use in op.uses if use.slot == "weight")


def _parts(graph: Graph, op: Op) -> Iterator[_Part]:
    """Yield what scales another signal in a product, and what shifts that signal."""
    if op.name == "mul" and _is_noise(op):
        part = _of_layer(graph, op.inputs[0])
        if part is not None and LEAST < abs(part.at_zero) < MOST:
            yield part
    if op.name not in ("mul", "div") or len(op.inputs) != 2:
        return
    for main, factor in (op.inputs, op.inputs[::-1]):
        part = _of_layer(graph, factor)
        if part is None or (op.name == "div" and factor == op.inputs[0]):
            continue
        beside = _of_layer(graph, main)
        if beside is not None and beside.value == part.value:  # one function: x (1 + erf(x))
            continue
        if LEAST < abs(part.at_zero) < MOST:
            yield part
            yield from _shifts(graph, op, main)
        elif (
            part.at_zero == 0
            and op.name == "mul"
            and (_gates_branch(graph, op, main, factor) or _moves_stream(graph, op, main, factor))
        ):
            yield part


def _is_noise(op: Op) -> bool:
    """Return whether an operation multiplies by numbers about zero that no parameter made."""
    if len(op.inputs) != 1 or op.uses or op.replay is not None or op.detail.constant is None:
        return False
    mean, second = op.detail.constant
    return second > 0 and mean**2 < CENTRED * second


def _shifts(graph: Graph, product: Op, main: int) -> Iterator[_Part]:
    """Yield what is added to a scaled signal, or to the signal before it is scaled."""
    value = product.outputs[0]
    sums = [op for op in _readers(graph, value) if op.name in SUMS and len(op.inputs) == 2]
    before = graph.producers.get(graph.trunk(main))
    if before is not None and before.name in SUMS and len(before.inputs) == 2:
        sums.append(before)
    for op in sums:
        parts = [_of_layer(graph, v) for v in op.inputs if graph.trunk(v) != graph.trunk(value)]
        known = [part for part in parts if part is not None and part.at_zero == 0]
        if op is not before or len(known) == 1:
            yield from known


def _of_layer(graph: Graph, value: int, *, bent: bool = False) -> _Part | None:
    """Return the layer that a value is a function of single elements of; None for any other value.

    None also for a layer that is applied more than once, as in a loop over time: its output at one
    step is part of the signal of the next.

    Args:
        graph: what the model does.
        value: what may be such a function.
        bent: whether it must be positive and no line: a deviation, a rate.
    """
    steps: list[Op] = []
    part: int | None = None
    while (op := graph.producers.get(value)) is not None and op.kind != "map":
        single = (
            len(op.inputs) == 1 and op.kind in ("move", "other") and op.index not in graph.norms
        )
        if not single or len(steps) == FAR:
            return None
        steps.append(op)
        part = value if graph.is_part(op) else part
        value = op.inputs[0]
    weights = [use.parameter for use in op.uses if use.slot == "weight"] if op is not None else []
    if op is None or not op.inputs or not weights:
        return None
    if any(len(graph.uses_of(name)) > 1 for name in weights):
        return None
    if bent and not _is_positive_curve(steps[::-1]):
        return None
    made = _played(steps[::-1], np.zeros(ROW))
    if made is None or np.ptp(made) != 0:
        return None
    return _Part(op, value if part is None else part, float(made[0]))


def _is_positive_curve(steps: Sequence[Op]) -> bool:
    """Return whether operations make positive numbers of all, and not those of a line."""
    made = _played(steps, np.linspace(-1.0, 1.0, ROW))
    return made is not None and bool((made > 0).all()) and float(np.ptp(np.diff(made))) > 1e-6


def _played(steps: Sequence[Op], row: Array) -> Array | None:
    """Return what operations on single elements make of a row; None where that is not known."""
    for op in steps:
        if op.kind == "move" or op.is_neutral:
            continue
        if op.replay is None:  # times a constant that differs from place to place, such as a mask
            if op.name not in ("mul", "div") or row.any():
                return None
            continue
        try:
            row = np.asarray(op.play([row])[0], np.float64)
        except ReplayError:  # no function of single elements
            return None
        if row.shape != (ROW,):
            return None
    return row


def _readers(graph: Graph, value: int) -> Iterator[Op]:
    """Yield what reads a value, perhaps moved."""
    for op in graph.consumers.get(value, []):
        if op.kind == "move" and len(op.outputs) == 1:
            yield from _readers(graph, op.outputs[0])
        else:
            yield op


def _gates_branch(graph: Graph, op: Op, main: int, factor: int) -> bool:
    """Return whether a residual branch ends with a product by what does not come from its stream."""
    joins = [graph.joins.get(reader.index) for reader in _readers(graph, op.outputs[0])]
    return any(
        graph.trunk(join.branch) == op.outputs[0]
        and graph.depends(main, on=join.start)
        and not graph.depends(factor, on=join.start)
        for join in joins
        if join is not None
    )


def _moves_stream(graph: Graph, op: Op, main: int, factor: int) -> bool:
    """Return whether a stream moves along what no weight made: x + Σ g (x - x'), or x + g v.

    The stream is a residual one, or the example. The factor is one number for a whole vector: a mask
    is one for what a layer gives.
    """
    numbers, units = (graph.sizes[v][-1:] for v in (factor, op.outputs[0]))
    if numbers != (1,) or units == (1,):
        return False
    streams = {v for join in graph.joins.values() for v in (join.start, *join.op.outputs)}
    if graph.unweighted(main, streams) is None:
        return False
    value = op.outputs[0]
    for _ in range(FAR):
        readers = list(_readers(graph, value))
        if len(readers) != 1:
            return False
        (reader,) = readers
        if reader.name in SUMS and len(reader.inputs) == 2:
            others = [v for v in reader.inputs if graph.trunk(v) != graph.trunk(value)]
            return len(others) == 1 and graph.unweighted(others[0], streams) is not None
        if reader.name not in GATHERING and graph.trunk(reader.outputs[0]) != graph.trunk(value):
            return False
        value = reader.outputs[0]
    return False
