"""Plain stacks, or chains: layers that feed each other through nothing but elementwise functions.

Between norm layers or residual sums the signal is put right again and again, and a scale that keeps
the variance will do. Where nothing does that for many layers in a row, each layer's small error
multiplies, forward and backward, and the weights must keep more than the variance: see
`isoinit.initializers.looks_linear` and `isoinit.initializers.scale.criticality`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isoinit._reading.graph import Array, Graph, Op
from isoinit._reading.pointwise import Activation, Feed, feeding
from isoinit.errors import ArgumentError
from isoinit.initializers.scale.criticality import Critical, critical, drift
from isoinit.initializers.scale.gains import function_gain

# Layers in a row from which on a chain counts as deep. Up to there, keeping the variance alone lets
# tanh's gradients grow 2.7 times (1.178^(12/2)), and the sizes of ReLU networks as wide as 256 spread
# by a quarter (exp(5·12/256), Hanin & Rolnick 2018).
DEEP = 13
# What gradients may grow or shrink by over a chain of mirrored layers.
TOLERATED = 3.2


@dataclass(frozen=True)
class Chain:
    """The plain chain that a layer is part of.

    Attributes:
        length: how many layers it has.
        mirror: where `LooksLinear` puts mirrors: "in", "out", "both", or "" where it doesn't.
        odd_gain: the gain of the odd part of that function; 1 where its inputs have no mirror.
        point: the critical point of the function that follows, where the chain rests on one.
        hopeless: what nothing keeps alive: the name of a function between its layers.
    """

    length: int
    mirror: str = ""
    odd_gain: float = 1.0
    point: Critical | None = None
    hopeless: str = ""


@dataclass(frozen=True)
class _Link:
    """One layer feeding another through an activation."""

    before: Op
    after: Op
    activation: Activation
    whole: bool  # whether units pass in pairs: no maximum over places in between

    @property
    def pairs(self) -> bool:
        """Whether units of the layers can be mirrored: as many, in one group, and an even number."""
        before, after = (op.uses[0].layout for op in (self.before, self.after))
        _, n_out, _, _ = before.maps_shape
        _, _, n_in, _ = after.maps_shape
        single = before.maps_shape[0] == after.maps_shape[0] == 1
        return self.whole and single and n_out % 2 == 0 and n_in % n_out == 0


def read_plain_stacks(graph: Graph) -> dict[int, Chain]:
    """The plain chain of each layer that is part of a deep one, by the index of the operation."""
    links = {op.index: link for op in graph.ops if (link := _link(graph, op)) is not None}
    nexts: dict[int, list[_Link]] = {}
    for link in links.values():
        nexts.setdefault(link.before.index, []).append(link)
    behind: dict[int, int] = {}
    for op in graph.ops:
        link = links.get(op.index)
        behind[op.index] = 1 + (behind[link.before.index] if link else 0)
    ahead: dict[int, int] = {}
    for op in reversed(graph.ops):
        ahead[op.index] = max(
            (1 + ahead[link.after.index] for link in nexts.get(op.index, [])), default=0
        )
    found = {}
    for op in graph.ops:
        length = behind[op.index] + ahead[op.index]
        if length >= DEEP:
            found[op.index] = _chain(length, links.get(op.index), nexts.get(op.index, []))
    return found


def _link(graph: Graph, op: Op) -> _Link | None:
    if not _is_layer(graph, op):
        return None
    feed = feeding(graph, op.inputs[0])
    source = feed.sources[0].op if len(feed.sources) == 1 else None
    if source is None or feed.sources[0].kind != "weight" or not _is_layer(graph, source):
        return None
    activation = feed.activation
    if activation is None:
        if feed.function is None:
            return None
        activation = Activation("linear", function=feed.function)
    return _Link(source, op, activation, _keeps_pairs(feed))


def _is_layer(graph: Graph, op: Op) -> bool:
    """Whether an operation is one weight matrix with at most a bias, used nowhere else."""
    if op.kind != "map" or len(op.inputs) != 1 or not op.uses or op.uses[0].slot != "weight":
        return False
    slots = [use.slot for use in op.uses]
    return (
        slots in (["weight"], ["weight", "bias"]) and len(graph.uses_of(op.uses[0].parameter)) == 1
    )


def _keeps_pairs(feed: Feed) -> bool:
    moves = [step.name for step in feed.steps if step.kind == "move"]
    return not any("max" in name or name in ("flip", "gather") for name in moves)


def _chain(length: int, link: _Link | None, nexts: list[_Link]) -> Chain:
    into = link is not None and _mirrors(link, length)
    out = any(_mirrors(following, length) for following in nexts)
    mirror = {(True, True): "both", (True, False): "in", (False, True): "out"}.get((into, out), "")
    odd_gain = _odd_gain(link.activation) if into and link else 1.0
    point, hopeless = None, ""
    for following in nexts:
        if not out and not _rests(following):
            point = point or _critical(following.activation)
            hopeless = "" if point else following.activation.name
    return Chain(length, mirror, odd_gain, point, hopeless)


def _rests(link: _Link) -> bool:
    """Whether a variance-preserving scale is enough: SELU, and what is linear."""
    return link.activation.name in ("selu", "linear")


def _mirrors(link: _Link, length: int) -> bool:
    if not link.pairs or link.activation.name == "selu":
        return False
    grows = _odd_drift(link.activation)
    return grows is not None and grows ** (length / 2) <= TOLERATED and not _is_odd(link.activation)


def _odd(activation: Activation) -> Callable[[Array], Array]:
    return lambda z: np.asarray(activation.function(z) - activation.function(-z), np.float64)


def _is_odd(activation: Activation) -> bool:
    """Whether a mirror would only repeat the unit."""
    z = np.linspace(0.1, 4.0, 12)
    return bool(np.allclose(activation.function(z), -activation.function(-z), atol=1e-9))


_memory: dict[tuple[str, object], object] = {}


def _remembered(activation: Activation, what: str, compute: Callable[[], object]) -> object:
    """By the values of the function: quadrature takes milliseconds, and chains repeat."""
    key = (what, activation.function(np.linspace(-3.1, 3.1, 24)).tobytes())
    if key not in _memory:
        if len(_memory) > 256:
            _memory.clear()
        _memory[key] = compute()
    return _memory[key]


def _odd_drift(activation: Activation) -> float | None:
    def compute() -> float | None:
        try:
            function_gain(_odd(activation))
        except ArgumentError:  # an even function: nothing is left of it
            return None
        return drift(_odd(activation))

    found = _remembered(activation, "drift", compute)
    return found if isinstance(found, float) else None


def _odd_gain(activation: Activation) -> float:
    found = _remembered(activation, "gain", lambda: function_gain(_odd(activation)))
    return found if isinstance(found, float) else 1.0


def _critical(activation: Activation) -> Critical | None:
    found = _remembered(activation, "critical", lambda: critical(activation.function))
    return found if isinstance(found, Critical) else None
