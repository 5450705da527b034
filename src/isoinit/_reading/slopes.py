"""Slopes written by hand: a scale of one side of a function, as PReLU's is (He et al. 2015).

`where(z > 0, z, p * z)`, `relu(z) - p * relu(-z)` and `p * z + (1 - p) * relu(z)` are all PReLU. At
one value of p, mostly 1, where a scale does nothing, each is a line: no activation is left. So p is
no scale that starts neutral, but a slope, and starts at the share of that value that PReLU's does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from isoinit._reading.graph import Array, Graph, Op, Times, Use
from isoinit._reading.pointwise import feeding, line_through, region
from isoinit.initializers.scale.gains import PRELU_SLOPE

TINY = 1e-6
NEAR = 8  # operations between a scale and where it meets the function's other side


def with_slopes(graph: Graph) -> Graph:
    """Return a graph in which such scales are slopes, each with the value that it starts at."""
    for name in dict.fromkeys(op.uses[0].parameter for op in graph.ops if _may_bend(graph, op)):
        uses = graph.uses_of(name)
        if all(_scales(op) for op, _ in uses) and (line := _where_line(graph, uses)):
            graph = _with(graph, uses, PRELU_SLOPE * line, slot="slope")
    return graph


def _scales(op: Op) -> bool:
    """Whether an operation multiplies one signal by a known function of one parameter."""
    plain = op.name == "mul" and op.kind == "other" and len(op.inputs) == len(op.uses) == 1
    return plain and op.uses[0].slot == "scale" and _function(op.uses[0]) is not None


def _may_bend(graph: Graph, op: Op) -> bool:
    """Whether an operation scales what meets something else before the next layer."""
    if not _scales(op):
        return False
    waiting, seen = [*op.outputs], 0
    while waiting and seen < NEAR:
        seen += 1
        for reader in graph.consumers.get(waiting.pop(0), []):
            if reader.kind == "other" and len(reader.inputs) > 1:
                return True
            waiting += reader.outputs if reader.kind in ("move", "other") else ()
    return False


def _function(use: Use) -> Callable[[Array], Array] | None:
    """Return what a parameter goes through before it multiplies; None where that is not known."""
    if use.made is None:
        return None if use.through else np.positive
    return use.made.function


def _where_line(graph: Graph, uses: Sequence[tuple[Op, Use]]) -> float | None:
    """Return the value at which a function that is bent at all others is a line; None if none is.

    The function is A + p·B of a parameter p, and how far it is from a line is, too. A line at p = 0 is
    no slope's: there the parameter brings a function in. Of two slopes, one for each side, the second
    stays as it is.
    """
    sources = feeding(graph, uses[0][0].inputs[0]).sources
    if len(sources) != 1:
        return None
    start = sources[0].value
    none, half, whole = (region(_with(graph, uses, value), start) for value in (0.0, 0.5, 1.0))
    bent = [op for op in graph.ops if any(use.slot == "slope" for use in op.uses)]
    if any(op.outputs[0] in none for op in bent):
        return None
    behind = {value for op, _ in uses for value in graph.reached_from(op.outputs[0])}
    for value in sorted(behind.intersection(none, half, whole)):
        line = _zero_of(*(arrays[value] for arrays in (none, half, whole)))
        if line is not None and abs(line) > TINY:
            return float(f"{line:.6g}")
    return None


def _zero_of(none: Array, half: Array, whole: Array) -> float | None:
    """Return where values that change along a line from 0 to 1 lie on one; None if nowhere."""
    if whole.ndim > 1:
        return None
    at_none, at_half, at_whole = (np.subtract(v, line_through(v)) for v in (none, half, whole))
    by = at_whole - at_none
    if not np.allclose(at_half, at_none + by / 2, atol=TINY) or np.allclose(by, 0, atol=TINY):
        return None
    line = -float(at_none @ by) / float(by @ by)
    return line if np.allclose(at_none + line * by, 0, atol=TINY) else None


def _with(graph: Graph, uses: Sequence[tuple[Op, Use]], value: float, slot: str = "scale") -> Graph:
    """Return a graph in which operations multiply by a parameter of a value."""
    changed: dict[int, Op] = {}
    for op, use in uses:
        function = _function(use)
        assert function is not None, "the caller asks"
        factor = float(function(np.array([value]))[0])
        its = replace(use, slot=slot, neutral=None, slope=value)
        multiplied = Times(factor)
        changed[op.index] = replace(op, uses=(its,), replay=multiplied, pull=multiplied.pull)
    return replace(graph, ops=tuple(changed.get(op.index, op) for op in graph.ops))
