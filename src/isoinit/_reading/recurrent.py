"""Weights of recurrent layers that are written out: what a loop applies to its state and its input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isoinit._reading.graph import SUMS, Graph, Op, Use
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

# Uses that may be a loop's first: some make a few steps for their shapes alone, and begin anew.
FIRST = 4
GATES = frozenset({"sigmoid", "hardsigmoid"})


@dataclass(frozen=True)
class Looped:
    """A weight of a recurrent layer.

    Attributes:
        slot: "recurrent weight" or "input weight", as in torch's own layers.
        layout: its layout; gates may be stacked along the output.
    """

    slot: str
    layout: Layout


def read_loops(graph: Graph) -> dict[str, Looped]:
    """Return the weights of recurrent layers that a model writes out, by name."""
    weights = dict(_plain_weights(graph))
    found: dict[str, Looped] = {}
    met: dict[int, float] = {}  # sums that a state goes into, and its width
    for name, uses in weights.items():
        layout = _recurrent_layout(graph, uses)
        if layout is not None:
            found[name] = Looped("recurrent weight", layout)
            width = uses[0][1].layout.fan_in
            met.update((step.index, width) for step in _met(graph, uses))
    if met:
        others = {name: uses for name, uses in weights.items() if name not in found}
        found |= dict(_input_weights(graph, others, met))
    return found


def _plain_weights(graph: Graph) -> Iterator[tuple[str, list[tuple[Op, Use]]]]:
    """Yield the matrices of a model with the operations that apply them."""
    for name in graph.shapes:
        uses = [(op, use) for op, use in graph.uses_of(name) if use.slot != "other"]
        if uses and uses[0][1].slot == "weight":
            layout = uses[0][1].layout
            if layout.kind == "linear" and len(layout.shape) == 2:
                yield name, uses


def _recurrent_layout(graph: Graph, uses: list[tuple[Op, Use]]) -> Layout | None:
    """The layout of a weight that a loop applies to its own state; None for any other.

    It is used again on what came of its own output, and that output joins a fresh input in a sum:
    layers that are merely shared through depth join theirs with a residual skip.
    """
    layout = uses[0][1].layout
    first = next((op for op, _ in uses[:FIRST] if _comes_back(graph, op, uses)), None)
    if first is None:
        return None
    joins = _sums_of(graph, first.outputs[0])
    if layout.fan_out % layout.fan_in or not any(op.index not in graph.joins for op in joins):
        return None
    return _gated(layout, layout.fan_in)


def _input_weights(
    graph: Graph, weights: Mapping[str, list[tuple[Op, Use]]], met: Mapping[int, float]
) -> Iterator[tuple[str, Looped]]:
    """Yield the weights whose output joins what a recurrent weight makes of the state."""
    for name, uses in weights.items():
        layout = uses[0][1].layout
        width = next((met[op.index] for op in _met(graph, uses) if op.index in met), None)
        if width is not None and layout.fan_out % width == 0:
            yield name, Looped("input weight", _gated(layout, width))


def _gated(layout: Layout, width: float) -> Layout:
    """Return a matrix's layout as that of so many gates as its outputs have widths."""
    transposed = layout.in_[0] < layout.out[0]
    return fans.linear(layout.shape, int(layout.fan_out // width), transposed=transposed)


def _comes_back(graph: Graph, first: Op, uses: Sequence[tuple[Op, Use]]) -> bool:
    """Whether a later use of a weight reads what comes of this one."""
    later = [op for op, _ in uses if op.index > first.index and op.inputs]
    if not later:
        return False
    reached = graph.reached_from(first.outputs[0])
    return any(op.inputs[0] in reached for op in later)


def _met(graph: Graph, uses: Sequence[tuple[Op, Use]]) -> list[Op]:
    """The sums that the first uses of a weight go into."""
    return [step for op, _ in uses[:FIRST] for step in _sums_of(graph, op.outputs[0])]


def _sums_of(graph: Graph, value: int) -> list[Op]:
    """The sums that a value goes into, perhaps rearranged, scaled, gated or in parts, gate by gate."""
    found: list[Op] = []
    waiting = [value]
    while waiting:
        at = waiting.pop()
        for op in graph.consumers.get(at, []):
            if op.name in SUMS and len(op.inputs) > 1:
                found.append(op)
            elif (
                op.is_neutral  # a bias
                or graph.is_part(op)
                or graph.trunk(op.outputs[0]) == graph.trunk(at)
                or _is_gated(graph, op, at)
            ):
                waiting.extend(op.outputs)
    return found


def _is_gated(graph: Graph, op: Op, value: int) -> bool:
    """Whether an operation multiplies a value by a gate, as that of a GRU which resets its state."""
    others = [other for other in op.inputs if other != value]
    makers = [graph.producers.get(graph.trunk(other)) for other in others]
    return op.name == "mul" and any(maker and maker.name in GATES for maker in makers)
