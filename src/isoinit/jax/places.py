"""Where an evaluation of a JAX model shows the outputs of layers and norms, and how they lie."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoinit._reading.graph import Graph, Op
from isoinit._reading.jax import Traced
from isoinit._reading.jax.held import Signal
from isoinit._verifying.health.records import SIGNALS
from isoinit._verifying.health.steps import is_one_unit


@dataclass(frozen=True)
class Place:
    """One layer, or one norm.

    Attributes:
        op: its operation.
        weight: the weight of a layer; "" of a norm.
        shown: the value that an evaluation shows for its output; None where it shows none.
        order: the axes of the shown array in the order of the graph's value.
        units: how many of the last axes hold the units; 0 where they lie along the second axis.
        alone: whether it is one unit, whose output has no axis of units.
    """

    op: Op
    weight: str
    shown: int | None
    order: tuple[int, ...]
    units: int
    alone: bool = False

    @property
    def value(self) -> int:
        """Its output in the graph."""
        return self.op.outputs[0]

    @property
    def axis(self) -> int:
        """The axis of the units in what `laid` returns."""
        return -1 if self.units else 1

    def laid(self, shown: Any) -> Any:
        """Return a shown array as NumPy's, its axes in the order of the graph, units along one."""
        array = np.asarray(shown)
        if array.dtype.kind == "V" or array.dtype.itemsize < 4:  # bfloat16 and shorter
            array = array.astype(np.float32)
        array = array.transpose(self.order) if self.order else array
        if self.units < 2:
            return array[..., None] if self.alone else array
        return array.reshape(*array.shape[: -self.units], -1)


def places_of(read: Traced) -> list[Place]:
    """Return the layers and norms of a model, in the order in which they ran."""
    times = Counter(_sightings(read))
    found = []
    for op in read.graph.ops:
        weight = next((use.parameter for use in op.uses if "weight" in use.slot), "")
        is_layer = op.kind in SIGNALS and weight
        if op.outputs and (is_layer or op.kind == "norm"):
            shown, order = _shown(read.graph, op, times)
            units, alone = _units(read.graph, op), is_layer and _is_alone(read.graph, op)
            found.append(Place(op, weight if is_layer else "", shown, order, units, bool(alone)))
    return found


def _is_alone(graph: Graph, op: Op) -> bool:
    if op.kind != "map" or op.name.startswith("conv"):
        return False
    layout = next(use.layout for use in op.uses if "weight" in use.slot)
    return is_one_unit(layout, graph.sizes[op.outputs[0]])


def _sightings(read: Traced) -> Iterator[int]:
    for visit in read.visits:
        if isinstance(visit, list):
            yield from (held.number for held in visit if isinstance(held, Signal))


def _shown(graph: Graph, op: Op, times: Counter[int]) -> tuple[int | None, tuple[int, ...]]:
    """Return the value that shows what an operation makes, and its axes in the order of that.

    That may be what is made of it by turning its axes: where a bias meets that, it is shown once more
    with the bias.
    """
    value = op.outputs[0]
    turned = [o for o in graph.consumers.get(value, []) if o.name == "permute" and o.detail.axes]
    behind = [o for o in turned if times[o.outputs[0]]]
    biased = any(use.slot == "bias" for use in op.uses)
    late = [o for o in behind if times[o.outputs[0]] > 1] if biased and times[value] == 1 else []
    if times[value] and not late:
        return value, ()
    for other in late or behind:
        axes = other.detail.axes or ()
        order = tuple(axes.index((axis,)) for axis in range(len(axes)))
        return other.outputs[0], order
    return None, ()


def _units(graph: Graph, op: Op) -> int:
    """Return how many of the last axes hold units; 0 where they lie along the second axis."""
    size = graph.sizes[op.outputs[0]]
    if op.kind == "norm":
        scale = next((math.prod(use.layout.shape) for use in op.uses), size[-1] if size else 1)
        return 0 if len(size) > 1 and size[-1] != scale == size[1] else 1
    if op.name.startswith("conv"):
        return 0 if len(size) > 1 else 1
    layout = next(use.layout for use in op.uses if "weight" in use.slot)
    out = tuple(n for n in (layout.grid[axis] for axis in layout.out) if n > 1)
    return len(out) if len(out) > 1 and size[-len(out) :] == out else 1
