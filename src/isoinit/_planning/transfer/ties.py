"""Parameters with several uses: a table that is a readout, too.

The first use decides the factors. A use that sums over more terms wants smaller ones: in the papers
the forward divides its result (Yang et al. 2022, table 8: the output of a tied table over m).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from isoinit._planning.decide import Decided
from isoinit._planning.transfer.forwards import NEAR, Offsets
from isoinit._planning.transfer.growth import Growth, growth
from isoinit._reading.graph import Graph, Op, Use


def tie(
    offsets: Offsets, base: Graph, target: Graph, pairs: Mapping[int, Op], twin: Mapping[str, str]
) -> None:
    """Add what the results of further uses are to be divided by.

    Args:
        offsets: as `forwards.constants` returns them.
        base: the reading of the smaller model.
        target: that of the larger one.
        pairs: the operation of the base that each of the target stands for, by index.
        twin: the parameter of the base that each of the target stands for.
    """
    for name in target.shapes:
        first: Growth | None = None
        for op, use in _maps(target, name):
            other = pairs.get(op.index)
            uses = [
                u for o, u in base.uses_of(twin.get(name, "")) if other and o.index == other.index
            ]
            if not uses:
                offsets.notes.append(
                    f"{name!r} is used in {op.name} (operation {op.index}), which has no counterpart "
                    "in the base: its factors are those of its other uses"
                )
                continue
            grown = growth(uses[0].layout, use.layout)
            if first is None:
                first = grown
            else:
                _add(offsets, name, op, first, grown)


def tie_alone(offsets: Offsets, decided: Decided, unit: float) -> None:
    """Add the same for one model, as if it had been tuned at a width of `unit`."""
    for name in decided.graph.shapes:
        uses = list(_maps(decided.graph, name))
        for op, use in uses[1:]:
            if uses[0][1].layout.kind == "embedding" and use.slot == "weight":
                times = uses[0][1].layout.fan_out / unit
                _add(offsets, name, op, Growth(1.0, times, times), Growth(times, 1.0, 1.0))


def _maps(graph: Graph, name: str) -> Iterator[tuple[Op, Use]]:
    """Yield the uses of a parameter as a weight or a table, as it is."""
    for op, use in graph.uses_of(name):
        if use.layout.is_map and use.made is None and op.kind in ("map", "lookup"):
            yield op, use


def _add(offsets: Offsets, name: str, op: Op, first: Growth, grown: Growth) -> None:
    times = grown.summed / first.summed
    if abs(math.log(first.std / grown.std / times)) > NEAR:
        offsets.notes.append(
            f"{name!r} is used twice, and {op.name} (operation {op.index}) sums {times:.4g} times as "
            "many terms there as where it is used first: no one factor is right for both uses"
        )
        return
    offsets.add(
        op, times, f"{name!r} is used twice: here its result is to be divided by {times:.4g}"
    )
