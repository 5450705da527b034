"""The outline of a model, to be drawn: layers on a trunk, branches that leave it and return.

It is small plain data, which outlives the graph that it was made from. What repeats is held once, with
the names of the layers at each place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from isoinit._reading.graph import Graph, Op
from isoinit._reading.layers import is_layer, layer_name

LONGEST = 24  # parts of a block that repeats
DEEPEST = 3  # branches within branches: what lies deeper is drawn as part of the third
MOST = 50  # times as many operations as the model has: what all branches may hold together


@dataclass(frozen=True)
class Place:
    """One layer, or the layers at one place of a block that repeats.

    Attributes:
        names: of the layers, from the first block to the last.
        norm: whether it is a norm layer.
        shape: of its weight.
    """

    names: tuple[str, ...]
    norm: bool
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Level:
    """Layers side by side: none reads what another one makes."""

    places: tuple[Place, ...]


@dataclass(frozen=True)
class Fork:
    """A branch that is added to the stream that it leaves.

    Attributes:
        parts: of the branch.
        skip: the layers on the other way, such as the projection of a wider block.
    """

    parts: tuple[Part, ...]
    skip: tuple[Part, ...]


@dataclass(frozen=True)
class Repeat:
    """What repeats, and how often."""

    times: int
    parts: tuple[Part, ...]


Part: TypeAlias = "Level | Fork | Repeat"


@dataclass(frozen=True)
class Outline:
    """A model from its input to its output.

    Attributes:
        model: its class.
        elements: of all parameters.
        parts: in the order of execution.
    """

    model: str
    elements: int
    parts: tuple[Part, ...]


def outline(graph: Graph, model: str, parent: Callable[[str], str] = str) -> Outline:
    """Return the outline of a model.

    Args:
        graph: what was read of it.
        model: its class.
        parent: returns the parameter that a name is a part of, where it is one.
    """
    layers = {op.index: op for op in graph.ops if is_layer(graph, op)}
    tree = _Tree(graph, layers, parent)
    elements = sum(math.prod(shape) for shape in graph.shapes.values())
    return Outline(model, elements, tree.parts(None))


class _Tree:
    """The layers of a model by the branch that each lies in."""

    def __init__(self, graph: Graph, layers: dict[int, Op], parent: Callable[[str], str]) -> None:
        self._graph, self._layers, self._parent = graph, layers, parent
        self._depths = _depths(graph, layers)
        self._inside: dict[int, set[int]] = {}  # the layers of each branch, by the index of its sum
        self._skip: dict[int, int] = {}  # of a layer on the other way, the sum that it leads to
        left = MOST * len(graph.ops)
        for join in graph.joins.values():
            inside = graph.inside(join)
            left -= len(inside)
            if left < 0:
                break  # a deeply nested model: the rest is drawn as a chain
            if found := inside & layers.keys():
                self._inside[join.op.index] = found
                between = graph.inside(replace(join, branch=join.op.outputs[0]))
                others = (between - inside) & layers.keys()
                self._skip.update(dict.fromkeys(others, join.op.index))
        self._owners = self._owned()

    def _owned(self) -> dict[int, list[int | None]]:
        """For each layer and each sum the branches that it lies in, the innermost first."""
        found: dict[int, list[int | None]] = {}
        for branch in sorted(self._inside, key=lambda index: len(self._inside[index])):
            for layer in self._inside[branch]:
                found.setdefault(layer, []).append(branch)
        return found

    def _home(self, layer: int) -> list[int | None]:
        """The branches that a layer lies in, the outermost first, no deeper than is drawn."""
        return [None, *reversed(self._owners.get(layer, []))][: DEEPEST + 1]

    def parts(self, branch: int | None) -> tuple[Part, ...]:
        """The parts of a branch, or of the model."""
        within = self._layers.keys() if branch is None else self._inside[branch]
        return self._arranged([i for i in sorted(within) if branch in self._home(i)], branch)

    def _arranged(self, indices: Sequence[int], branch: int | None) -> tuple[Part, ...]:
        forks = {index: self._below(index, branch) for index in indices}
        here = {fork for fork in forks.values() if fork is not None}
        beside: dict[int, list[int]] = {}  # what is drawn on the other way of a fork
        for index in indices:
            to = self._skip.get(index)
            if forks[index] is None and to is not None and to in here:
                beside.setdefault(to, []).append(index)
        drawn = {index for layers in beside.values() for index in layers}
        found: list[Part] = []
        row: list[int] = []
        met = set[int]()
        for index in indices:
            fork = forks[index]
            if index in drawn:
                continue
            if row and (fork is not None or self._depths[index] != self._depths[row[-1]]):
                found.append(self._level(row))
                row = []
            if fork is None:
                row.append(index)
            elif fork not in met:
                met.add(fork)
                skip = tuple(self._level([i]) for i in beside.get(fork, ()))
                found.append(Fork(self.parts(fork), skip))
        if row:
            found.append(self._level(row))
        return folded(found)

    def _below(self, layer: int, branch: int | None) -> int | None:
        """The branch within a branch that a layer lies in; None where it lies in this one itself."""
        home = self._home(layer)
        return next(iter(home[home.index(branch) + 1 :]), None)

    def _level(self, indices: Sequence[int]) -> Level:
        """Layers side by side; those whose names differ in numbers alone, such as experts, as one."""
        found: dict[Hashable, Place] = {}
        for index in indices:
            op = self._layers[index]
            place = Place((self._name(op),), index in self._graph.norms, _shape(op))
            key = _token(place)
            if key in found:
                place = replace(place, names=found[key].names + place.names)
            found[key] = place
        return Level(tuple(found.values()))

    def _name(self, op: Op) -> str:
        """The weight's name, as entries and checks have it; of other layers the module's."""
        weight = next((use.parameter for use in op.uses if use.layout.is_map), "")
        if not weight:
            return layer_name(self._graph, op)
        return self._parent(weight).removesuffix(".weight") or weight


def _shape(op: Op) -> tuple[int, ...]:
    return next((use.layout.shape for use in op.uses), ())


def _depths(graph: Graph, layers: dict[int, Op]) -> dict[int, int]:
    """How many layers lie before each on its longest way, by index."""
    behind: dict[int, int] = {}
    found: dict[int, int] = {}
    for op in graph.ops:
        depth = max((behind.get(value, 0) for value in op.inputs), default=0)
        if op.index in layers:
            found[op.index] = depth
            depth += 1
        behind.update(dict.fromkeys(op.outputs, depth))
    return found


def folded(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return parts, those that repeat one after the other as one `Repeat`."""
    tokens = [_token(part) for part in parts]
    found: list[Part] = []
    at = 0
    while at < len(parts):
        size, times = _repeats(tokens, at)
        if times == 1:
            found.append(parts[at])
            at += 1
            continue
        runs = [parts[at + size * i : at + size * (i + 1)] for i in range(times)]
        found.append(Repeat(times, tuple(map(_merged, zip(*runs, strict=True)))))
        at += size * times
    return tuple(found)


def _repeats(tokens: Sequence[Hashable], at: int) -> tuple[int, int]:
    """How long the block that begins somewhere is, and how often it stands there in a row."""
    best = (1, 1)
    for size in range(1, min(LONGEST, (len(tokens) - at) // 2) + 1):
        block, times = tokens[at : at + size], 1
        while tokens[at + size * times : at + size * (times + 1)] == block:
            times += 1
        if times > 1 and size * times > best[0] * best[1]:
            best = (size, times)
    return best


def _token(part: Part | Place) -> Hashable:
    """What is equal for parts that differ in the numbers of their names alone."""
    if isinstance(part, Place):
        return tuple({re.sub(r"\d+", "#", name) for name in part.names}), part.norm, part.shape
    if isinstance(part, Level):
        return tuple(map(_token, part.places))
    if isinstance(part, Fork):
        return "fork", tuple(map(_token, part.parts)), tuple(map(_token, part.skip))
    return "repeat", part.times, tuple(map(_token, part.parts))


def _merged(parts: Sequence[Part]) -> Part:
    """Parts that are alike as one."""
    first = parts[0]
    if isinstance(first, Level):
        places = zip(*[part.places for part in parts if isinstance(part, Level)], strict=True)
        return Level(tuple(_together(alike) for alike in places))
    if isinstance(first, Fork):
        forks = [part for part in parts if isinstance(part, Fork)]
        return Fork(_zipped([f.parts for f in forks]), _zipped([f.skip for f in forks]))
    repeats = [part for part in parts if isinstance(part, Repeat)]
    return Repeat(first.times, _zipped([repeat.parts for repeat in repeats]))


def _zipped(several: Sequence[Sequence[Part]]) -> tuple[Part, ...]:
    return tuple(map(_merged, zip(*several, strict=True)))


def _together(places: Sequence[Place]) -> Place:
    return replace(places[0], names=tuple(name for place in places for name in place.names))
