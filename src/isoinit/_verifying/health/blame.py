"""Which operation first made a NaN or an infinity, by the values and gradients that hold one."""

from __future__ import annotations

from dataclasses import dataclass

from isoinit._reading.graph import Graph, Op
from isoinit._verifying.health.records import Trouble

# Minus infinity is what they are given of what is masked; what they make of it is finite.
NORMALIZING = frozenset("softmax log_softmax logsumexp scaled_dot_product_attention".split())


@dataclass
class Bad:
    """Which values are not finite, and which gradients; where each operation was called."""

    nan: set[int]
    infinite: set[int]
    lines: dict[int, str]
    back: set[int]
    came: set[int]
    given: str


def first_trouble(graph: Graph, bad: Bad) -> Trouble | None:
    """Return what first was not finite, forward or else backward; None if all that matters is."""
    return _forward(graph, bad) or _backward(graph, bad)


def _forward(graph: Graph, bad: Bad) -> Trouble | None:
    """Back from what comes out at the end, or of a layer, along what is not finite to its start.

    So an infinity that a mask puts in and a softmax takes out again is no trouble.
    """
    layers = [op for op in graph.ops if op.kind == "map" and op.outputs]
    ends = [*(op.outputs[0] for op in layers), *graph.outputs]
    for what, values in (("NaN", bad.nan), ("infinity", bad.infinite)):
        value = next((v for v in ends if v in values), None)
        while value is not None:
            op = graph.producers[value]
            value = next((v for v in op.inputs if v in values), None)
            if value is None and values is bad.nan and op.name not in NORMALIZING:
                value = next((v for v in op.inputs if v in bad.infinite), None)
                if value is not None:
                    what, values = "infinity", bad.infinite
            if value is None and bad.given and any(v not in graph.producers for v in op.inputs):
                return Trouble(bad.given, "the batch", False, "", "", ())
            if value is None:
                return _trouble(graph, op, what, bad, backward=False)
    return None


def _backward(graph: Graph, bad: Bad) -> Trouble | None:
    """The last operation that passes on a gradient that is not finite, and got one that was."""
    for op in reversed(graph.ops):
        got = [value for value in op.outputs if value in bad.came]
        if got and not bad.back & set(got) and bad.back & set(op.inputs):
            return _trouble(graph, op, "NaN or infinity", bad, backward=True)
    return None


def _trouble(graph: Graph, op: Op, what: str, bad: Bad, *, backward: bool) -> Trouble:
    before = [o for o in graph.ops[: op.index + 1] if o.kind == "map" and o.uses]
    near = before[-1].uses[0].parameter.removesuffix(".weight") if before else ""
    names = tuple(use.parameter for use in op.uses)
    return Trouble(what, op.name, backward, near, bad.lines.get(op.index, ""), names)
