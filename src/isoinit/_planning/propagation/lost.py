"""Where a walk loses the signal, and why."""

from __future__ import annotations

from collections.abc import Container

from isoinit._reading.graph import Graph, Op


def lost_at(graph: Graph, known: Container[int], value: int) -> Op | None:
    """Return the operation that the signal gets lost in on its way to a value.

    Args:
        graph: what the model does.
        known: the values whose signal is known.
        value: one whose signal is not.
    """
    op = graph.producers.get(value)
    while op is not None:
        behind = next((v for v in op.inputs if v not in known), None)
        if behind is None:
            return op
        op = graph.producers.get(behind)
    return None


def why_lost(graph: Graph, known: Container[int], value: int) -> str:
    """Return the name of that operation and what is known against it; "" where there is none."""
    op = lost_at(graph, known, value)
    return f"{op.name} {op.unplayed}".strip().partition(":")[0] if op is not None else ""
