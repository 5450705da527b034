"""Weights that a loop applies to its own state: those of recurrent layers that are written out."""

from __future__ import annotations

from collections.abc import Sequence

from isoinit._reading.graph import SUMS, Graph, Op, Use
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

# Uses that may be a loop's first: one may make a step for its shape alone, and begin anew.
FIRST = 2


def recurrent_layout(graph: Graph, uses: list[tuple[Op, Use]]) -> Layout | None:
    """The layout of a weight that a loop applies to its own state; None for any other.

    It is used again on what came of its own output, and that output joins a fresh input in a sum:
    layers that are merely shared through depth join theirs with a residual skip. Gates may be
    stacked along the output.
    """
    use = uses[0][1]
    first = next((op for op, _ in uses[:FIRST] if _comes_back(graph, op, uses)), None)
    if first is None:
        return None
    joins = _sums_of(graph, first.outputs[0])
    n_in, n_out = use.layout.fan_in, use.layout.fan_out
    plain = use.layout.kind == "linear" and len(use.layout.shape) == 2
    if not plain or n_out % n_in or not any(op.index not in graph.joins for op in joins):
        return None
    transposed = use.layout.in_[0] < use.layout.out[0]
    return fans.linear(use.layout.shape, int(n_out // n_in), transposed=transposed)


def _comes_back(graph: Graph, first: Op, uses: Sequence[tuple[Op, Use]]) -> bool:
    """Whether a later use of a weight reads what comes of this one."""
    later = [op for op, _ in uses if op.index > first.index and op.inputs]
    if not later:
        return False
    reached = graph.reached_from(first.outputs[0])
    return any(op.inputs[0] in reached for op in later)


def _sums_of(graph: Graph, value: int) -> list[Op]:
    """The sums that a value goes into, perhaps rearranged, scaled or in parts, gate by gate."""
    found: list[Op] = []
    waiting = [value]
    while waiting:
        at = waiting.pop()
        for op in graph.consumers.get(at, []):
            if op.name in SUMS:
                found.append(op)
            elif graph.is_part(op) or graph.trunk(op.outputs[0]) == graph.trunk(at):
                waiting.extend(op.outputs)
    return found
