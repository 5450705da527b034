"""What a transfer says in words: why a parameter has a gauge, and what only the forward could do."""

from __future__ import annotations

import math

from isoinit._planning.transfer.equations import System
from isoinit._planning.transfer.forwards import Offsets, parameter_before
from isoinit._planning.transfer.gauges import Gauges
from isoinit._reading.graph import Graph


def reason(offsets: Offsets, placed: Gauges, name: str) -> str:
    """Return what a parameter's gauge stands for; "" if it has none."""
    if placed.of(name) == 1:
        return ""
    why = dict.fromkeys(offsets.why[op] for op in placed.why.get(name, ()) if op in offsets.why)
    return f"stored ×{placed.of(name):.4g}: {'; '.join(why)}"


def unplaced(graph: Graph, offsets: Offsets, placed: Gauges, system: System) -> list[str]:
    """Return a sentence for each multiplier that no parameter can take."""
    written = {equation.op for equation in system.equations if equation.offset}
    lost = [*placed.left, *(index for index in offsets.by_op if index not in written)]
    ops = {op.index: op for op in graph.ops}
    found: dict[tuple[str, float, str], list[str]] = {}
    for index in sorted(lost):
        op, times = ops[index], math.exp(-offsets.by_op[index])
        near = next((n for v in op.inputs if (n := parameter_before(graph, v))), "the input")
        found.setdefault((op.name, round(times, 9), offsets.why[index]), []).append(near)
    return [
        f"no parameter can take a multiplier of {times:.4g}: multiply the result of {name} behind "
        f"{names[0]!r}{f' and {len(names) - 1} more' * (len(names) > 1)} by it in the forward "
        f"({why}), or the model does not transfer exactly"
        for (name, times, why), names in found.items()
    ]


def streams(graph: Graph, placed: Gauges) -> list[str]:
    """Return a sentence if a whole residual stream is stored smaller."""
    if not placed.whole:
        return []
    sizes = {round(placed.of(v), 9) for j in graph.joins.values() for v in j.op.outputs} - {1.0}
    times = ", ".join(f"{size:.4g}" for size in sorted(sizes))
    return [
        f"all that writes to a residual stream is stored ×{times}, since nothing nearer can take a "
        "multiplier: the norm layers that read the stream see smaller numbers beside their eps, so "
        f"multiply their eps by the square of this for an exact transfer"
    ]
