"""Grids of features: tables whose rows are looked up by places among numbers, and interpolated."""

from __future__ import annotations

from collections.abc import Iterator

from isoinit._reading.graph import SUMS, Graph, Op

ROUNDING = frozenset("floor ceil round trunc long int to".split())  # a cast may round


def interpolated_tables(graph: Graph) -> Iterator[str]:
    """Yield tables whose rows are chosen by rounding the example, and mixed by what rounding left.

    So are the corners of a cell, and the distances from them (Müller et al. 2022, section 3).
    """
    for op in graph.ops:
        tables = [use.parameter for use in op.uses if use.slot == "table"]
        if not tables or len(op.inputs) != 1 or graph.unweighted(op.inputs[0]) is None:
            continue
        rounding = {step.index for step in _makers(graph, op.inputs[0]) if step.name in ROUNDING}
        if rounding and any(_is_rest(graph, share, rounding) for share in _factors(graph, op)):
            yield from tables


def _factors(graph: Graph, op: Op) -> Iterator[int]:
    """Yield what the rows of a table are multiplied by, if no parameter makes it."""
    for value in op.outputs:
        for reader in graph.consumers.get(value, []):
            if reader.kind == "move" and not reader.uses:
                yield from _factors(graph, reader)
            elif reader.name == "mul" and len(reader.inputs) == 2:
                yield from (
                    v for v in reader.inputs if v != value and graph.unweighted(v) is not None
                )


def _is_rest(graph: Graph, value: int, rounding: set[int]) -> bool:
    """Return whether a value is made of the difference of a number and what it was rounded to."""
    for step in _makers(graph, value):
        if step.name in SUMS and len(step.inputs) == 2:
            behind = [{s.index for s in _makers(graph, v)} & rounding for v in step.inputs]
            if any(behind) and not all(behind):
                return True
    return False


def _makers(graph: Graph, value: int) -> list[Op]:
    """Return the operations that a value comes from."""
    values = graph.leading_to([value])
    return [op for op in graph.ops if not values.isdisjoint(op.outputs)]
