"""Which operations are layers, and what they are called."""

from __future__ import annotations

from itertools import takewhile

from isoinit._reading.graph import LAYERS, Graph, Op


def is_layer(graph: Graph, op: Op) -> bool:
    """Return whether an operation uses parameters for itself, or is a norm.

    A bias that is added by itself, or the scale of a norm that is spelled out in steps, belongs to the
    layer before it.
    """
    return op.kind in LAYERS or op.index in graph.norms or bool(op.uses and not op.is_neutral)


def layer_name(graph: Graph, op: Op) -> str:
    """Return the module that holds all parameters of an operation, or the one parameter's name."""
    names = [use.parameter for use in op.uses] or _scales_after(graph, op)
    if not names:
        return f"({op.name})"
    parts = [name.split(".") for name in names]
    if len(parts) == 1:
        return names[0].removesuffix(".weight")
    alike = takewhile(lambda c: len(set(c)) == 1, zip(*parts, strict=False))
    return ".".join(column[0] for column in alike) or names[0]


def _scales_after(graph: Graph, op: Op) -> list[str]:
    """The scale and shift that stand right behind a norm spelled out in steps."""
    waiting, found = list(op.outputs), []
    while waiting:
        for reader in graph.consumers.get(waiting.pop(), []):
            if reader.is_neutral or (reader.kind == "move" and len(reader.inputs) == 1):
                found += [use.parameter for use in reader.uses]
                waiting += reader.outputs
    return found
