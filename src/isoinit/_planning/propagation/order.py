"""The order of a walk: a learned vector is looked up where it joins the signal, not before."""

from __future__ import annotations

from collections.abc import Iterator

from isoinit._reading.graph import Graph, Op


def in_order(graph: Graph) -> Iterator[Op]:
    """Yield every operation after those whose values it reads.

    What is made of learned vectors alone (positions, tokens) comes just before the first operation
    that reads it beside the signal, or last where none does. All else keeps the order of execution.
    So what a position joins is known when the position is chosen, whichever is looked up first.
    """
    waiting: dict[int, Op] = {}
    for op in graph.ops:
        if _is_learned(op, waiting):
            waiting.update(dict.fromkeys(op.outputs, op))
            continue
        yield from _taken(op, waiting)
        yield op
    yield from dict.fromkeys(waiting.values())


def _is_learned(op: Op, waiting: dict[int, Op]) -> bool:
    """Return whether an operation reads nothing but a learned vector, or what was made of some."""
    if op.kind == "lookup":
        return not op.inputs
    plain = op.kind in ("move", "other", "norm")
    return plain and bool(op.inputs) and all(value in waiting for value in op.inputs)


def _taken(op: Op, waiting: dict[int, Op]) -> list[Op]:
    """Return the waiting operations that one needs, in the order of execution; they wait no more."""
    needed: dict[int, Op] = {}
    values = list(op.inputs)
    while values:
        maker = waiting.get(values.pop())
        if maker is not None and maker.index not in needed:
            needed[maker.index] = maker
            values.extend(maker.inputs)
    for maker in needed.values():
        for value in maker.outputs:
            waiting.pop(value, None)
    return [needed[index] for index in sorted(needed)]
