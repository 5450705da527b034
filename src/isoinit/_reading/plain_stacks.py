"""Plain stacks, or chains: layers that feed each other through nothing but elementwise functions.

Between norm layers or residual sums the signal is put right again and again, and a scale that keeps
the variance will do. Where nothing does that for many layers in a row, each layer's small error
multiplies, forward and backward, and the weights must keep more than the variance: `chain_points` says
what, for all layers of a chain together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from isoinit._reading.activation import GRID
from isoinit._reading.chain_points import Joint, is_odd, points_for, values_of
from isoinit._reading.graph import Graph, Op
from isoinit._reading.pointwise import Feed, feeding, is_affine
from isoinit.initializers.scale.criticality import Point
from isoinit.initializers.scale.gains import Function
from isoinit.initializers.scale.mean_field import Way

# Layers in a row from which on a chain counts as deep. Up to there, keeping the variance alone lets
# tanh's gradients grow 2.7 times (1.178^(12/2)), and the sizes of ReLU networks as wide as 256 vary
# by a quarter (exp(5·12/256), Hanin & Rolnick 2018).
DEEP = 13


@dataclass(frozen=True)
class Chain:
    """The plain chain that a layer is part of.

    Attributes:
        length: how many layers it has.
        into: the fixed point of the function before the layer; None for the first layer.
        out: the fixed point of the function behind the layer; None for the last layer.
        bias: V_b, the variance of the layer's biases.
        hopeless: the names of the functions between its layers, where nothing keeps it alive.
        unknown: whether that is so because they cannot be followed.
        unbiased: whether it would live if its layers had biases.
    """

    length: int
    into: Point | None = None
    out: Point | None = None
    bias: float = 0.0
    hopeless: str = ""
    unknown: bool = False
    unbiased: bool = False

    @property
    def mirror(self) -> str:
        """Where `LooksLinear` puts mirrors: "in", "out", "both", or "" where it doesn't."""
        into = self.into is not None and self.into.way == "mirrored"
        out = self.out is not None and self.out.way == "mirrored"
        return "both" if into and out else "in" if into else "out" if out else ""

    @property
    def centred(self) -> bool:
        """Whether the layer's weights sum to zero over its inputs."""
        return self.into is not None and self.into.way == "centred"


@dataclass(frozen=True)
class _Link:
    """One layer feeding another through a function; None where that cannot be followed."""

    before: Op
    after: Op
    name: str
    function: Function | None
    whole: bool  # whether units pass in pairs: no maximum over places in between

    @property
    def ways(self) -> tuple[Way, ...]:
        """Which weights can read the function behind `before`.

        Mirrored: as many units on both sides, in one group, an even number, and a function that a
        mirror does not just repeat. Centred: more than one input to sum over.
        """
        layouts = [op.uses[0].layout for op in (self.before, self.after)]
        (_, n_out, _, _), (_, _, n_in, _) = (layout.maps_shape for layout in layouts)
        single = all(a.kind in ("linear", "conv") and a.maps_shape[0] == 1 for a in layouts)
        pairs = self.whole and single and n_out % 2 == 0 and n_in % n_out == 0
        mirrored = pairs and self.function is not None and not is_odd(self.function)
        found: list[Way] = ["plain"]
        found += ["centred"] if n_in > 1 else []
        found += ["mirrored"] if mirrored else []
        return tuple(found)


class _Way(NamedTuple):
    """A way through a stack: its last link, and the way up to there."""

    link: _Link
    before: _Way | None
    length: int


def read_plain_stacks(graph: Graph) -> dict[int, Chain]:
    """Return the plain chain of each layer that is part of a deep one, by the operation's index."""
    links = [link for op in graph.ops if (link := _link(graph, op)) is not None]
    found: dict[int, Chain] = {}
    for stack in _stacks([link for link in links if link.function is not None]):
        path = _longest(stack)
        if len(path) + 1 >= DEEP:
            found |= _chains(stack, path)
    for stack in _stacks(links):
        unknown = _names(link for link in stack if link.function is None)
        length = len(_longest(stack)) + 1
        if unknown and length >= DEEP:
            lost = Chain(length, hopeless=unknown, unknown=True)
            found = dict.fromkeys(_layers(stack), lost) | found
    return found


def _stacks(links: Iterable[_Link]) -> list[list[_Link]]:
    """Return the links that hang together, in the order of execution."""
    found: dict[int, list[_Link]] = {}
    for link in links:
        stack = found.setdefault(link.before.index, [])
        stack.append(link)
        found[link.after.index] = stack
    return list({id(stack): stack for stack in found.values()}.values())


def _layers(links: Iterable[_Link]) -> dict[int, Op]:
    return {op.index: op for link in links for op in (link.before, link.after)}


def _longest(links: Sequence[_Link]) -> list[_Link]:
    """Return the links of the longest way through a stack."""
    ways: dict[int, _Way] = {}  # each holds the way before it: copies would take n² memory
    for link in links:
        before = ways.get(link.before.index)
        ways[link.after.index] = _Way(link, before, before.length + 1 if before else 1)
    way: _Way | None = max(ways.values(), key=lambda way: way.length)
    path = []
    while way is not None:
        path.append(way.link)
        way = way.before
    return path[::-1]


def _link(graph: Graph, op: Op) -> _Link | None:
    if not op.inputs or not _is_layer(graph, op):
        return None
    feed = feeding(graph, op.inputs[0])
    source = feed.sources[0].op if len(feed.sources) == 1 else None
    if source is None or feed.sources[0].kind != "weight" or not _is_layer(graph, source):
        return None
    if feed.function is None and not _keeps_places(graph, feed):
        return None
    steps = [step.name for step in feed.steps if step.kind != "move" and not step.is_neutral]
    name = feed.activation.name if feed.activation else "·".join(dict.fromkeys(steps))
    return _Link(source, op, name, feed.function, _keeps_pairs(feed))


def _is_layer(graph: Graph, op: Op) -> bool:
    """Whether an operation is one weight matrix with at most a bias, used nowhere else.

    Without an input it reads what the run made out of sight.
    """
    if op.kind != "map" or len(op.inputs) > 1 or not op.uses or op.uses[0].slot != "weight":
        return False
    slots = [use.slot for use in op.uses]
    return (
        slots in (["weight"], ["weight", "bias"]) and len(graph.uses_of(op.uses[0].parameter)) == 1
    )


def _keeps_places(graph: Graph, feed: Feed) -> bool:
    """Whether what is not elementwise has the shape of one that is: a function not followed."""
    sizes = [graph.sizes.get(value) for value in (feed.sources[0].value, feed.value)]
    return sizes[0] is not None and sizes[0] == sizes[1]


def _keeps_pairs(feed: Feed) -> bool:
    moves = [step.name for step in feed.steps if step.kind == "move"]
    return not any("max" in name or name in ("flip", "gather") for name in moves)


def _chains(links: Sequence[_Link], path: Sequence[_Link]) -> dict[int, Chain]:
    """Return the chain of each layer of one stack, whose functions are all known."""
    length, layers = len(path) + 1, _layers(links)
    if all(_rests(link) for link in links):
        return dict.fromkeys(layers, Chain(length))
    joints, key_of = _joints(links, path)
    # Of a convolution the taps count too: a unit's size is a mean over places.
    noise = sum(1 / link.after.uses[0].layout.fan_in for link in path) / len(path)
    points = points_for(tuple(joints.values()), noise)
    if points is None:
        names = _names(link for link in links if not _rests(link))
        biased = tuple(replace(joint, biased=True) for joint in joints.values())
        lives = points_for(biased, noise) is not None
        return dict.fromkeys(layers, Chain(length, hopeless=names, unbiased=lives))
    point_of = dict(zip(joints, points, strict=True))
    into = {index: point_of[key] for index, key in key_of.items()}
    out = {link.before.index: into[link.after.index] for link in links}
    return {
        index: Chain(length, into.get(index), out.get(index), _bias(op, into, out))
        for index, op in layers.items()
    }


_Key = tuple[bytes, tuple[Way, ...], bool]


def _joints(
    links: Sequence[_Link], path: Sequence[_Link]
) -> tuple[dict[_Key, Joint], dict[int, _Key]]:
    """Return the joints of a stack, alike ones as one, and which one each layer reads."""
    reading = {link.before.index for link in links}
    on_path = {link.after.index for link in path}
    joints: dict[_Key, Joint] = {}
    key_of: dict[int, _Key] = {}
    for link in links:
        assert link.function is not None, "the stack is followed"
        index = link.after.index
        biased = _has_bias(link.after) or index not in reading
        key = key_of[index] = (values_of(link.function), link.ways, biased)
        count = (joints[key].count if key in joints else 0) + (index in on_path)
        joints[key] = Joint(link.name, link.ways, biased, count, key[0], link.function)
    return joints, key_of


def _bias(op: Op, into: dict[int, Point], out: dict[int, Point]) -> float:
    """Return the variance of a layer's biases: beside the weights that read the function before.

    Mirrored units have opposite biases: none. The last layer's belong to the output.
    """
    before, behind = into.get(op.index), out.get(op.index)
    if behind is None or behind.way == "mirrored" or not _has_bias(op):
        return 0.0
    return behind.bias if before is None else before.bias


def _has_bias(op: Op) -> bool:
    return any(use.slot == "bias" for use in op.uses)


def _rests(link: _Link) -> bool:
    """Whether a variance-preserving scale is enough: SELU, and what is linear."""
    if link.function is None or link.name == "selu":
        return link.function is not None
    values = link.function(np.append(GRID, 0.0))
    return is_affine(values[:-1]) and bool(np.isclose(values[-1], 0.0, atol=1e-9))


def _names(links: Iterable[_Link]) -> str:
    return " and ".join(dict.fromkeys(link.name for link in links))
