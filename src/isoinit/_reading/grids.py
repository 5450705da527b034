"""Grids of features: tables whose rows are looked up by places among numbers, and interpolated."""

from __future__ import annotations

from collections.abc import Iterator

from isoinit._reading.graph import Graph, Op


def interpolated_tables(graph: Graph) -> Iterator[str]:
    """Yield tables whose rows are chosen by rounding the example, and mixed by what rounding left.

    Both the place of a row and its share are made of the same numbers without a parameter, as the
    corners of a cell and their distances are (Müller et al. 2022, section 3).
    """
    for op in graph.ops:
        tables = [use.parameter for use in op.uses if use.slot == "table"]
        if not tables or len(op.inputs) != 1 or op.inputs[0] not in graph.producers:
            continue
        example = _made_of(graph, op.inputs[0])
        if example and any(example & share for share in _shares(graph, op)):
            yield from tables


def _shares(graph: Graph, op: Op) -> Iterator[frozenset[int]]:
    """Yield what the factors of the rows of a table are made of."""
    for value in op.outputs:
        for reader in graph.consumers.get(value, []):
            if reader.kind == "move" and not reader.uses:
                yield from _shares(graph, reader)
            elif reader.name == "mul" and len(reader.inputs) == 2:
                (factor,) = [v for v in reader.inputs if v != value] or [value]
                yield _made_of(graph, factor)


def _made_of(graph: Graph, value: int) -> frozenset[int]:
    """Return the tensors of the example that a value is made of; none where a parameter takes part."""
    waiting, found, met = [value], set[int](), set[int]()
    while waiting:
        if (at := waiting.pop()) in met:
            continue
        met.add(at)
        maker = graph.producers.get(at)
        if maker is None:
            found.add(at)
        elif maker.uses:
            return frozenset()
        else:
            waiting.extend(maker.inputs)
    return frozenset(found)
