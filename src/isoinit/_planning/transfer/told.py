"""What a transfer says in words: why a parameter has a gauge, and what only the forward could do."""

from __future__ import annotations

import math
from collections.abc import Mapping

from isoinit._planning.transfer.equations import System
from isoinit._planning.transfer.forwards import NEAR, Offsets, nearest
from isoinit._planning.transfer.gauges import Gauges
from isoinit._reading.graph import Graph
from isoinit._showing.findings import listed
from isoinit._showing.terminal import counted
from isoinit._writing.entry import Entry


def reason(offsets: Offsets, placed: Gauges, name: str) -> str:
    """Return what a parameter's gauge stands for; "" if it has none."""
    if placed.of(name) == 1:
        return ""
    why = dict.fromkeys(offsets.why[op] for op in placed.why.get(name, ()) if op in offsets.why)
    return f"stored ×{placed.of(name):.4g}: {'; '.join(why)}"


def unplaced(graph: Graph, offsets: Offsets, placed: Gauges, system: System) -> list[str]:
    """Return a sentence for each multiplier that no parameter can take."""
    written = {equation.op for equation in system.equations if equation.offset}
    lost = [*placed.left, *((index,) for index in offsets.by_op if index not in written)]
    found: dict[tuple[str, float, str], list[str]] = {}
    for group in sorted(lost):
        op, times = graph.ops[max(group)], math.exp(-sum(offsets.by_op[index] for index in group))
        if abs(times - 1) < NEAR:  # they cancel, behind what is not understood
            continue
        why = "; ".join(dict.fromkeys(offsets.why[index] for index in group))
        found.setdefault((op.name, round(times, 9), why), []).append(nearest(graph, op))
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
        "multiply their eps by the square of this for an exact transfer"
    ]


def computed(graph: Graph, offsets: Offsets, entries: Mapping[str, Entry]) -> list[str]:
    """Return a sentence if weights are computed of parameters, as by weight normalization."""
    known = {*graph.parts, *graph.parts.values(), *graph.charts, *offsets.computed}
    names = [name for name in entries if name in known]
    if not names:
        return []
    return [
        f"weights are computed of {listed([repr(n) for n in names])}: their factors are those of a "
        "weight of such a shape, and of vectors for its lengths, which are not proven for them; where "
        "the size of the weight is prescribed, its start does not follow the width"
    ]


def kept(entries: Mapping[str, Entry]) -> list[str]:
    """Return a sentence if parameters keep their values, and so have factors of one."""
    names = [e.name for e in entries.values() if e.kept]
    if not names:
        return []
    return [
        f"{counted(len(names), 'parameter')} that the plan keeps have factors of one, since their "
        f"values come from elsewhere: {listed([repr(name) for name in names])}"
    ]
