"""How often the axes of a parameter grow from a base model to a larger one."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from isoinit._planning.transfer.depth import branch
from isoinit._reading.graph import Graph
from isoinit._reading.roles import Role
from isoinit.errors import PlanError
from isoinit.initializers.scale.fans import Layout


@dataclass(frozen=True)
class Growth:
    """How many times larger a parameter of the target is along the axes that it sums and makes.

    Attributes:
        summed: the growth of the terms of one output; 1 for a table and for vectors.
        made: that of the outputs of one map.
        units: that of all outputs, side by side in every group, head or gate.
    """

    summed: float
    made: float
    units: float

    @property
    def std(self) -> float:
        """What the standard deviation of a start is multiplied by (the spectral condition)."""
        return float(self.summed**-0.5) * min(1.0, math.sqrt(self.made / self.summed))


def growth(base: Layout, target: Layout) -> Growth:
    """Return how one layout grows to another of its kind.

    Example:
        >>> from isoinit.initializers.scale import fans
        >>> growth(fans.linear((64, 32)), fans.linear((256, 128)))
        Growth(summed=4.0, made=4.0, units=4.0)
    """
    if "kept" in (base.kind, target.kind):  # where weights lie is not told: fans are means
        made = target.fan_out / base.fan_out
        return Growth(target.fan_in / base.fan_in, made, made)
    if not target.is_map:
        grown = max(math.prod(target.shape), 1) / max(math.prod(base.shape), 1)
        return Growth(1.0, grown, grown)
    (stacks, outs, ins, taps), (stack, out, in_, tap) = target.maps_shape, base.maps_shape
    made = outs / out
    if target.kind == "embedding":
        return Growth(1.0, made, made)
    return Growth(ins * taps / (in_ * tap), made, made * stacks / stack)


def absolute(role: Role, unit: float, beside: Role | None = None) -> Growth:
    """Return how a parameter would have grown from a model whose hidden width is `unit`.

    What reads the example does not grow along what it sums, nor what gives the output along what it
    makes, nor an axis that is no longer than `unit` (Yang, Simon & Bernstein 2023: scales by fans).

    Args:
        role: what the parameter is for.
        unit: the width.
        beside: of a bias, the weight of its layer.
    """

    def grown(size: int) -> float:
        return max(size / unit, 1.0)

    layout = role.layout
    if not layout.is_map:
        if beside is not None:
            return replace(absolute(beside, unit), summed=1.0)
        units = grown(math.prod(layout.shape))
        return Growth(1.0, units, units)
    stack, out, in_, taps = layout.maps_shape
    made = 1.0 if role.end == "output" else grown(out)
    units = 1.0 if role.end == "output" else grown(out * stack)
    if layout.kind == "embedding":
        return Growth(1.0, made, made)
    return Growth(1.0 if role.source == "input" else grown(in_ * taps), made, units)


def growths(
    base: Mapping[str, Role],
    target: Mapping[str, Role],
    twin: Mapping[str, str],
    side_by_side: Mapping[str, float],
) -> dict[str, Growth]:
    """Return how every parameter grows.

    Args:
        base: what each parameter of the smaller model is for, by name.
        target: the same of the larger one.
        twin: the parameter of the base that each of the target stands for.
        side_by_side: how many times as many layers stand beside that of a parameter, as heads do.

    Raises:
        PlanError: if one of the base is larger than that of the target which stands for it.
    """
    found = {name: growth(base[twin[name]].layout, role.layout) for name, role in target.items()}
    for name, times in side_by_side.items():
        one = found[name]
        found[name] = replace(one, made=one.made * times, units=one.units * times)
    for name, grown in found.items():
        if min(grown.summed, grown.made) < 1:
            before, after = base[twin[name]].layout.shape, target[name].layout.shape
            raise PlanError(
                f"{twin[name]!r} of the base has shape {before}, which is larger than {after} of "
                f"{name!r} in the target. Tune the smaller model, and pass it as the base"
            )
    return found


def side_by_side(base: Graph, target: Graph, twin: Mapping[str, str]) -> dict[str, float]:
    """Return how many times as many layers of a kind stand side by side, for their parameters.

    Such are the heads of an attention in a list of modules: all read the same value. Layers that are
    one behind the other are depth, and so are those of several residual branches, such as a decoder's
    that all read what the encoder made.
    """
    place, places, found = _reads(base), _reads(target), dict[str, float]()
    before, after = Counter(place.values()), Counter(places.values())
    for name, key in places.items():
        other = place.get(twin.get(name, ""))
        if other is not None and after[key] > before[other]:
            found[name] = after[key] / before[other]
    return found


def _reads(graph: Graph) -> dict[str, tuple[str, int, int]]:
    """Return the name of each layer's parameter without numbers, what it reads, and its branch."""
    branches = {op.index: at for at, join in graph.joins.items() for op in branch(graph, join)}
    found = {}
    for name in graph.shapes:
        for op, _ in graph.uses_of(name)[:1]:
            if op.kind == "map" and op.inputs:
                kind, value = re.sub(r"\d+", "#", name), graph.trunk(op.inputs[0])
                found[name] = kind, value, branches.get(op.index, -1)
    return found
