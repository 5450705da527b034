"""The features that a first layer reads: a few numbers, or more of them that are the example's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isoinit._reading.graph import Graph, Op, ReplayError, Use

FEW = 3
# Columns of an example: of more it hardly counts where units bend (docs/decisions/choosing.md).
MANY = 32
JOINS = frozenset({"cat", "concat"})
# May put units in another order; `x[None]` and `x[:, None]` do not, and have more axes.
TURNS = frozenset("flip fliplr roll getitem index index_select take_along_dim gather".split())
Feature = tuple[float, float]
"""The mean and the standard deviation of one input."""


def reads_few(graph: Graph, op: Op, use: Use) -> bool:
    """Return whether a layer is a matrix of few inputs, beside a bias with one number for each unit.

    Few are up to three of any kind, and up to 32 columns of the example.
    """
    biases = [other for other in op.uses if other.slot == "bias" and other.made is None]
    plain = op.kind == "map" and use.layout.kind == "linear" and use.made is None
    if not plain or len(biases) != 1 or len(op.inputs) != 1:
        return False
    stack, units, inputs, _ = use.layout.maps_shape
    if math.prod(biases[0].layout.shape) != stack * units:
        return False
    return inputs <= FEW or (inputs <= MANY and _are_columns(graph, op.inputs[0]))


def _are_columns(graph: Graph, value: int) -> bool:
    """Return whether a value is columns of the example that vary, or of one without values.

    An example of zeros or ones alone tells shapes. Columns that are mostly zero, as a class that is
    written out, bend no further than at 0 and 1. Behind a function that is no line they are none.
    """
    found = sources(graph, value)
    given = [graph.given.get(one) for one in found]
    if None in given and graph.missed:
        return False
    units = [one.units if one and one.varies else ((0.0, 0.0),) for one in given]
    if not all(units):  # of no tensor of the example, or too many, or mostly zero
        return False
    return bool(features(graph, value)) or any(std == 0 for each in units for _, std in each)


def sources(graph: Graph, value: int) -> tuple[int, ...]:
    """Return the tensors of the example that a value is, moved, scaled and shifted; () if it is none.

    Several may have been put side by side.
    """
    while (op := graph.producers.get(value)) is not None:
        if op.name in JOINS and op.inputs and not op.uses and _joins_last(graph, op):
            parts = [sources(graph, part) for part in op.inputs]
            return tuple(one for part in parts for one in part) if all(parts) else ()
        if not _is_step(graph, op):
            return ()
        value = op.inputs[0]
    given = graph.given.get(value)
    return () if given is not None and given.fixed else (value,)


def _is_step(graph: Graph, op: Op) -> bool:
    """Return whether an operation moves all of one tensor, or may scale and shift it."""
    if len(op.inputs) != 1 or op.uses or graph.is_part(op):
        return False
    return op.kind == "move" or (op.kind == "other" and op.replay is not None)


def features(graph: Graph, value: int) -> tuple[Feature, ...]:
    """Return the mean and deviation of each of few numbers that the example gives; () if it does not.

    They may be moved, scaled and shifted by constants, and put side by side first. Numbers that are
    not distinguished where they come from, such as the pixels of an image, have the moments of all. An
    input that does not vary, as an example of zeros, tells nothing.
    """
    steps, at = list[Op](), value
    while (op := graph.producers.get(at)) is not None:
        if op.name in JOINS and op.inputs and not op.uses and _joins_last(graph, op):
            parts = [features(graph, part) for part in op.inputs]
            found = tuple(feature for part in parts for feature in part) if all(parts) else ()
            return _through(steps, found)
        if not _is_step(graph, op):
            return ()
        steps.append(op)
        at = op.inputs[0]
    given = graph.given.get(at)
    if given is None or not given.units:
        return ()
    alike = (given.mean, math.sqrt(max(given.second - given.mean**2, 0.0)))
    told = _stays_last(graph, at, steps[::-1])
    return _through(steps, given.units if told else (alike,) * graph.sizes[value][-1])


def _stays_last(graph: Graph, value: int, steps: Sequence[Op]) -> bool:
    """Return whether the units of a tensor of the example are the last axis behind some steps."""
    axis = graph.units_of_input(value)
    for op in steps:
        before, after = graph.sizes[op.inputs[0]], graph.sizes[op.outputs[0]]
        if op.kind != "move":
            axis += len(after) - len(before)
            continue
        runs = op.detail.axes or ()
        alone = [all(old == axis or before[old] == 1 for old in olds) for olds in runs]
        places = [new for new, olds in enumerate(runs) if axis in olds and alone[new]]
        if len(places) != 1 or (op.name in TURNS and len(before) == len(after)):
            return False
        axis = places[0]
    return axis == len(graph.sizes[steps[-1].outputs[0]] if steps else graph.sizes[value]) - 1


def _joins_last(graph: Graph, op: Op) -> bool:
    return op.detail.dims == (len(graph.sizes[op.outputs[0]]) - 1,)


def _through(steps: list[Op], found: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """Return features behind steps that scale and shift; () where one does more, or nothing varies."""
    means = np.array([mean for mean, _ in found])
    stds = np.array([std for _, std in found])
    for op in steps[::-1]:
        if op.kind == "move":
            continue
        # The largest first: what sorts is no function of single elements either.
        rows = np.concatenate([means + 2 * stds, means, means + stds])
        try:
            made = np.asarray(op.play([rows])[0], np.float64)
        except ReplayError:  # no function of single elements
            return ()
        if made.shape != rows.shape:
            return ()
        far, means, ends = made.reshape(3, -1)
        if not np.allclose(far - ends, ends - means):  # bent: not a line
            return ()
        stds = np.abs(ends - means)
    if not len(means) or not np.isfinite(means).all() or not (stds > 0).all():
        return ()
    return tuple(zip(means.tolist(), stds.tolist(), strict=True))


def rounded(found: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """Return deviations as powers of two, and means in halves of these.

    Another batch of the same data then gives the same numbers, but for one close to a boundary.
    """
    made = []
    for mean, std in found:
        size = 2.0 ** round(math.log2(std))
        made.append((round(2 * mean / size) * size / 2, size))
    return tuple(made)
