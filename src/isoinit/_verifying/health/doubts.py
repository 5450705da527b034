"""What is zero or alike at the start, and stays so when training begins: the search for it.

Zero gates, zero last layers and layers behind a branch that starts at zero are recipes that train: a
gradient reaches them once a step has moved the factor that is zero. So where anything is zero or
alike, a few small steps are taken, and what is still so is a fault.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from isoinit._reading.graph import Graph
from isoinit._reading.roles import Role
from isoinit._verifying.health.records import LayerHealth, Measurement, WeightHealth

ROUNDS = 4  # steps at most: zeros in zeros open one at a time


@dataclass(frozen=True)
class Ahead:
    """What is zero or alike, and stays so when training begins.

    Attributes:
        dead: the trained parameters that no gradient reaches.
        cut: those of them behind which all is zero on every way to the output.
        alike: by weight, the share of its units that stay equal to another one.
        silent: the layers whose output stays zero.
        blind: those whose output stays the same for all examples.
        stuck: those whose output gets no gradient.
        twins: by layer, the share of its units that give the same output and get the same gradient.
    """

    dead: frozenset[str] = frozenset()
    cut: frozenset[str] = frozenset()
    alike: Mapping[str, float] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    blind: frozenset[str] = frozenset()
    stuck: frozenset[str] = frozenset()
    twins: Mapping[str, float] = field(default_factory=dict)

    def left(self, now: Ahead) -> Ahead:
        """What of it is still so."""
        return Ahead(
            dead=self.dead & now.dead,
            alike={name: share for name, share in now.alike.items() if name in self.alike},
            silent=self.silent & now.silent,
            blind=self.blind & now.blind,
            stuck=self.stuck & now.stuck,
            twins={name: share for name, share in now.twins.items() if name in self.twins},
        )

    def layers(self) -> set[str]:
        """The names of the layers that are in doubt."""
        return {*self.silent, *self.blind, *self.stuck, *self.twins}

    def names(self) -> tuple[Collection[str], ...]:
        """What is in doubt, without how much of it."""
        return (
            self.dead,
            self.alike.keys(),
            self.silent,
            self.blind,
            self.stuck,
            self.twins.keys(),
        )

    def __bool__(self) -> bool:
        return any(self.names())


class Trials(Protocol):
    """A model that a few steps of training can be tried on."""

    def tried(self) -> AbstractContextManager[None]:
        """Return what leaves the model, and random numbers, as before at its end."""
        ...

    def step(self, gradients: Mapping[str, Any], number: int) -> None:
        """Take a small step; random numbers are others than at the steps before."""
        ...

    def measure(self, among: Collection[str]) -> Measurement:
        """Measure the layers of some weights, and keep all gradients."""
        ...

    def alike(self, gradients: Mapping[str, Any]) -> dict[str, float]:
        """Return by weight the share of units that started the same and get the same gradient."""
        ...


def lasting(start: Measurement, trials: Trials, *, shared_out: bool = False) -> Ahead:
    """Return what is zero or alike at the start, and still so after a few small steps.

    Takes no step where nothing is; at most four, and no more once one changes nothing.

    Args:
        start: what was measured at the start.
        trials: the model.
        shared_out: whether other processes take part in each pass, which saw other examples: they must
            take as many steps.
    """
    if start.trouble is not None or not start.began:
        return Ahead()
    doubts, now = _doubts(start, trials), start
    if shared_out:
        doubts = Ahead(dead=doubts.dead, alike=doubts.alike)
    if doubts:
        with trials.tried():
            for number in range(ROUNDS + 1):
                if number:
                    trials.step(now.kept, number)
                elif start.kept:
                    continue  # there is no need to look at the start again
                among = {n for x in doubts.layers() for n in (x, f"{x}.weight")}
                among |= doubts.dead | doubts.alike.keys()
                now = trials.measure(among)
                if now.trouble is not None:
                    break
                before, doubts = doubts, doubts.left(_doubts(now, trials))
                if not doubts or (number > 1 and doubts.names() == before.names()):
                    break
    on = _leading_on(now.graph, _closed(now)) if doubts.dead else set()
    uses = {name: now.graph.uses_of(name) for name in doubts.dead}
    cut = [n for n, found in uses.items() if all(on.isdisjoint(op.outputs) for op, _ in found)]
    return replace(doubts, cut=frozenset(cut))


def with_equal_units(
    weights: Mapping[str, WeightHealth], roles: Mapping[str, Role]
) -> dict[str, float]:
    """The share of units that another one equals, of each weight that has any."""
    return {
        name: max(weight.twins, float(weight.identical))
        for name, weight in weights.items()
        if (weight.twins or weight.identical)
        and weight.gradient is not None
        and roles[name].must_differ
    }


def _doubts(now: Measurement, trials: Trials) -> Ahead:
    uses: dict[str, list[LayerHealth]] = {}
    for layer in now.layers:
        uses.setdefault(layer.name, []).append(layer)

    def those(is_so: Any) -> frozenset[str]:
        return frozenset(name for name, layers in uses.items() if all(map(is_so, layers)))

    return Ahead(
        dead=frozenset(name for name, size in now.gradients.items() if size == 0),
        alike=trials.alike(now.kept),
        silent=those(lambda x: x.rms == 0),
        blind=those(lambda x: x.spread == 0),
        stuck=those(lambda x: x.gradient == 0),
        twins={x.name: x.twins for x in now.layers if x.twins and x.rms > 0},
    )


def _leading_on(graph: Graph, closed: Collection[int]) -> set[int]:
    """Return the values from which a way to an output passes none of those that are closed."""
    found: set[int] = set()
    waiting = [*graph.outputs]
    while waiting:
        value = waiting.pop()
        if value not in closed and value not in found:
            found.add(value)
            maker = graph.producers.get(value)
            waiting.extend(maker.inputs if maker else ())
    return found


def _closed(now: Measurement) -> set[int]:
    """The values that are zero since a factor is.

    Not those behind a function that is flat there: units that rest for all of a batch, as those of a
    ReLU may, are told as dead units. Nor rows for padding, which the batch alone looks up.
    """
    found: set[int] = set()
    for op in now.graph.ops:
        for value in now.zeros.intersection(op.outputs):
            given = now.zeros.intersection(op.inputs)
            flat = op.kind == "other" and not op.uses and len(op.inputs) == 1
            flat = flat or op.kind == "lookup"  # of rows that stand for nothing
            if given & found or not (given or flat):
                found.add(value)
    return found
