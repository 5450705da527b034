"""The order of a walk: what is looked up is chosen where it joins the signal, not before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isoinit._reading.graph import Graph, Op


def in_order(graph: Graph) -> Iterator[list[Op]]:
    """Yield all operations, each after those whose values it reads.

    What is made of looked-up vectors alone (positions, types, tokens) comes together with the first
    operation that reads it beside the signal or applies a weight to it, just before that, or last
    where none does; and what is the same for all examples comes last of these. All else keeps the
    order of execution. So what a position joins is known when the position is chosen, whichever is
    looked up first.
    """
    waiting: dict[int, Op] = {}
    examples: set[int] = set()  # values made of the example alone
    for op in graph.ops:
        if _is_looked_up(graph, op, waiting, examples):
            waiting.update(dict.fromkeys(op.outputs, op))
            continue
        yield [*_taken(op, waiting), op]
        if not op.uses and all(_is_example(graph, value, examples) for value in op.inputs):
            examples.update(op.outputs)
    yield _positions_last(dict.fromkeys(waiting.values()))


def _is_looked_up(graph: Graph, op: Op, waiting: dict[int, Op], examples: set[int]) -> bool:
    """Return whether an operation reads nothing but a table, or what was made of some."""
    if op.kind == "lookup":
        return all(_is_example(graph, value, examples) for value in op.inputs)
    plain = op.kind in ("move", "other", "norm")
    return plain and bool(op.inputs) and all(value in waiting for value in op.inputs)


def _is_example(graph: Graph, value: int, examples: set[int]) -> bool:
    return value in examples or value not in graph.producers


def _taken(op: Op, waiting: dict[int, Op]) -> list[Op]:
    """Return the waiting operations that one needs; they wait no more."""
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
    return _positions_last(needed[index] for index in sorted(needed))


def _positions_last(ops: Iterable[Op]) -> list[Op]:
    """Return operations in the order of execution, but those behind an index that is fixed last."""
    first, last = [], []
    fixed: set[int] = set()
    for op in ops:
        if (op.kind == "lookup" and not op.inputs) or not fixed.isdisjoint(op.inputs):
            fixed.update(op.outputs)
            last.append(op)
        else:
            first.append(op)
    return [*first, *last]
