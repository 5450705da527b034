"""Which layers a trend is judged along: those of one kind, one behind the other on one path.

Layers on the one way from input to output form the plain chain. Beside it, in the branches of a
residual stream, layers are compared with those of their own kind: queries with queries, branch ends
with branch ends. Depth is how many of them a signal has met; parallel layers have one depth, and so
have the uses of one layer in a loop. An output layer is no part of it: what it gives is a guess,
and it may start small.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median

from isoinit._planning.trend import median_slope
from isoinit._reading.graph import Graph, Op
from isoinit._reading.pointwise import following
from isoinit._reading.roles import Role
from isoinit._verifying.health.records import LayerHealth

FEWEST = 4  # depths, for a trend
CHAIN = "chain"  # what the layers on the one way from input to output have in common


@dataclass(frozen=True)
class Layer:
    """A layer, with all of its uses.

    Attributes:
        name: its name.
        uses: what was measured at each, in the order in which they ran.
    """

    name: str
    uses: tuple[LayerHealth, ...]

    @property
    def gradient(self) -> float:
        """The length of the gradient at its outputs.

        What an orthogonal layer keeps is the length, however many elements its input has and its
        output.
        """
        came = [x.gradient**2 * x.elements for x in self.uses if not math.isnan(x.gradient)]
        return math.sqrt(sum(came)) if came else math.nan


@dataclass(frozen=True)
class Series:
    """Layers of one kind by depth.

    Attributes:
        levels: the layers at each depth.
        normed: whether most of them have a norm layer behind them, so that the size of their weights
            does not matter.
    """

    levels: tuple[tuple[Layer, ...], ...]
    normed: bool

    @property
    def names(self) -> list[str]:
        """Their names, in the order of depth."""
        return [layer.name for level in self.levels for layer in level]

    def sizes(self, size: Callable[[Layer], float]) -> list[float]:
        """Return a size at each depth, the geometric mean of those that are finite and not zero."""
        found = []
        for level in self.levels:
            logs = [math.log(s) for s in map(size, level) if 0 < s < math.inf]
            if logs:
                found.append(math.exp(sum(logs) / len(logs)))
        return found


def find_series(
    graph: Graph, layers: Sequence[LayerHealth], roles: dict[str, Role]
) -> list[Series]:
    """Return the series of a model that are at least four layers deep.

    Args:
        graph: what ran.
        layers: what was measured, in the order in which it ran.
        roles: of the parameters.
    """
    merged: dict[str, list[LayerHealth]] = {}
    for measured in layers:
        merged.setdefault(measured.name, []).append(measured)
    chain = on_the_way(graph)
    kinds: dict[tuple[object, ...], list[Layer]] = {}
    for name, uses in merged.items():
        role = roles[name] if name in roles else roles[f"{name}.weight"]
        op = graph.producers[uses[0].value]
        if op.kind == "lookup" or (role.slot == "weight" and role.end == "output"):
            continue
        plain = len(uses) == 1 and uses[0].value in chain
        key = (CHAIN,) if plain else (_pattern(name), *_kind(op, role))
        kinds.setdefault(key, []).append(Layer(name, tuple(uses)))
    alone = [key for key, group in kinds.items() if len(group) == 1 and key != (CHAIN,)]
    for key in alone:  # by other names, they may still be of one kind
        (layer,) = kinds.pop(key)
        kinds.setdefault(("", *key[1:]), []).append(layer)
    series = [
        Series(_levels(graph, group), 2 * sum(_is_normed(graph, x) for x in group) > len(group))
        for group in kinds.values()
        if len(group) >= FEWEST
    ]
    return [one for one in series if len(one.levels) >= FEWEST]


def _is_normed(graph: Graph, layer: Layer) -> bool:
    """Whether a norm layer stands behind a layer, or behind its activation."""
    behind = following(graph, layer.uses[0].value)
    return behind.norm or (behind.end is not None and behind.end.index in graph.norms)


def _pattern(name: str) -> str:
    """A name without its numbers: layers of one kind differ in them alone."""
    return re.sub(r"\d+", "#", name)


def _kind(op: Op, role: Role) -> tuple[object, ...]:
    """What a layer is to its block, whatever its name."""
    activation = role.activation.name if role.activation else ""
    grouped = bool(role.layout.stack)  # a depthwise convolution beside full ones
    return op.name, role.slot, role.ends_branch, role.end, activation, grouped


def on_the_way(graph: Graph) -> frozenset[int]:
    """The values that every way from the example to the output leads through.

    One sweep in the order of execution: a value is one of them if no other value made before it is
    still read after it. What leads to no output, as a mask does, and what comes from no input
    before it is no way.
    """
    live = graph.leading_to(graph.outputs)
    made = {v for op in graph.ops for v in op.outputs}
    last: dict[int, float] = dict.fromkeys(graph.outputs, math.inf)
    for op in graph.ops:
        if live & set(op.outputs):
            for value in op.inputs:
                last[value] = max(last.get(value, -1), op.index)
    found: set[int] = set()
    open_until = max(
        (end for value, end in last.items() if value not in made), default=-1.0
    )  # inputs are read up to here
    for op in graph.ops:
        ends = [last[v] for v in op.outputs if v in last and v in live]
        if len(op.outputs) == 1 and ends and open_until <= op.index:
            found.add(op.outputs[0])
        open_until = max([open_until, *ends])
    return frozenset(found)


def _levels(graph: Graph, group: Sequence[Layer]) -> tuple[tuple[Layer, ...], ...]:
    """The layers of one kind by how many of them lie before each."""
    places = {layer.uses[0].value: layer for layer in group}
    depths: dict[int, int] = {}  # of a value, how many of the layers it has met on its longest way
    levels: dict[int, list[Layer]] = {}
    for op in graph.ops:
        depth = max((depths.get(value, 0) for value in op.inputs), default=0)
        for value in op.outputs:
            depths[value] = depth + (value in places)
            if value in places:
                levels.setdefault(depth, []).append(places[value])
    return tuple(tuple(levels[depth]) for depth in sorted(levels))


def slope(sizes: Sequence[float]) -> float:
    """The median slope of the logarithm from a depth to the next (Theil–Sen).

    It follows a steady change over the layers and not a few layers of another kind. Nor is one jump a
    trend, as behind a norm layer whose input is small: of the slopes with the largest step
    and with an ordinary one in its place, the lesser counts.
    """
    logs = [math.log(size) for size in sizes]
    steps = [after - before for before, after in pairwise(logs)]
    largest = max(range(len(steps)), key=lambda i: abs(steps[i]))
    others = [*steps[:largest], *steps[largest + 1 :]]
    ordinary = [*steps[:largest], median(others or steps), *steps[largest + 1 :]]
    return min(median_slope(logs), median_slope([*accumulate(ordinary, initial=0.0)]), key=abs)
