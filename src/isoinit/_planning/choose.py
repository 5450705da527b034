"""Chooses for every parameter in the order of execution, with the signal that the choices make.

A weight's input depends on what the weights before it were given, so choosing and propagating
alternate: each layer is chosen for the second moment that reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from isoinit._planning.beside import second_beside, second_of_table
from isoinit._planning.charts import carried, companions
from isoinit._planning.digits import rounded
from isoinit._planning.effective import solve
from isoinit._planning.expectations import outputs
from isoinit._planning.propagation import Moments, Signal, Walk, walking
from isoinit._planning.propagation.inputs import is_in_units_of_output
from isoinit._planning.propagation.lost import why_lost
from isoinit._planning.rules import Choice, choose
from isoinit._reading.few_inputs import FEW, features, sources
from isoinit._reading.few_inputs import rounded as rounded_features
from isoinit._reading.graph import COMPOSED, Graph, Join, Op, Use
from isoinit._reading.roles import Beside, Role
from isoinit._reading.subgraphs import skip_scale
from isoinit._system.signals import check_signals
from isoinit.initializers import Initializer

# A bias of attention scores, or what joins nothing that is known: 0.02² (Liu et al. 2021).
SMALL = 4e-4

Tell = Callable[[str, Choice], None]


def choose_all(
    graph: Graph, roles: dict[str, Role], method: str = "auto", moments: Moments | None = None
) -> dict[str, Choice]:
    """Return what every parameter gets, in the order of `roles`.

    The signal is the nominal one (`propagation.propagate`): a plan depends on the model, and not on
    the numbers in the example, its length, or how many examples there are. The exceptions are large
    inputs and columns of an example that a first layer bends (`few_inputs`). Only where the signal
    cannot be worked out do moments that were measured on the example take its place.

    Raises:
        ArgumentError: for an unknown method.
    """
    moments = Moments() if moments is None else moments
    return moments.answer(choosing(graph, roles, method))


def choosing(
    graph: Graph,
    roles: dict[str, Role],
    method: str = "auto",
    tell: Tell = lambda _name, _choice: None,
) -> Walk[dict[str, Choice]]:
    """Choose as `choose_all` does, asking for what is needed and not known.

    Args:
        graph: what the model does.
        roles: what each parameter is for.
        method: as for `choose`.
        tell: called with each choice, as soon as it is made.
    """
    chooser = _Chooser(graph, roles, method, tell)
    yield from walking(graph, chooser.fill, nominal=True, seen=chooser.seen)
    targets = outputs(graph, chooser.signals)
    chosen = chooser.chosen
    for name, role in roles.items():
        if name not in chosen:
            chosen[name] = carried(graph, name, role.layout, choose(role, method))
    chosen |= companions(graph, roles, chosen)
    chosen |= _copies(chosen)
    return {name: replace(chosen[name], target=targets.get(name)) for name in roles}


class _Chooser:
    """Chooses what a walk asks for, with the signals that it has seen.

    Args:
        graph: what the model does.
        roles: what each parameter is for.
        method: as for `choose`.
        tell: called with each choice, as soon as it is made.
    """

    def __init__(self, graph: Graph, roles: dict[str, Role], method: str, tell: Tell) -> None:
        self.graph, self.roles, self.method, self.tell = graph, roles, method, tell
        self.chosen: dict[str, Choice] = {}
        self.signals: dict[int, Signal] = {}
        self._starts: dict[int, float] = {}
        self._streams: dict[int, list[Join]] = {}
        for join in graph.joins.values():
            self._streams.setdefault(join.start, []).append(join)

    def fill(self, op: Op, use: Use, fed: Signal | None) -> Initializer | None:
        """Return what a parameter is filled with, chosen when it is asked for first."""
        name = use.parameter
        if name in self.chosen:
            return self.chosen[name].when_grown.meant
        check_signals()
        if _first_on_constant(self.graph, op, name):
            return None
        role = self._informed(op, self.roles[name], fed)
        alone = use.made is None or use.kind != "weight" or use.slot not in COMPOSED
        if alone or self._keeps(name):
            found = {name: choose(role, self.method)}
        else:
            found = self._made_of(op, use, role, fed)
        for other, choice in found.items():
            found[other] = carried(self.graph, other, self.roles[other].layout, choice)
        found |= companions(self.graph, self.roles, found)
        for other, choice in found.items():
            self.chosen[other] = choice
            self.tell(other, choice)
        return self.chosen[name].when_grown.meant

    def seen(self, value: int, signal: Signal) -> None:
        """Take note of a signal, and of the streams that start with it."""
        self.signals[value] = signal
        for join in self._streams.get(value, ()):
            second = signal.second * skip_scale(self.graph, join) ** 2
            if second > 0:
                self._starts.setdefault(join.stream, rounded(second))

    def _informed(self, op: Op, role: Role, fed: Signal | None) -> Role:
        """Return a role with the second moment that reaches it, if that is known."""
        second = fed.second if fed is not None else None
        if role.slot == "table":
            second = second_of_table(self.graph, op, self.signals, self._size_of_rows)
            return role if second is None else replace(role, joined=rounded(second))
        if op.kind == "lookup" or not op.inputs:
            second = second_beside(self.graph, op, self.signals)
        beside = role.slot in ("position", "token")
        if second is None and beside:
            role = replace(role, second=SMALL)
        elif second is None and role.slot == "weight":
            lost = why_lost(self.graph, self.signals, op.inputs[0]) if op.inputs else ""
            role = replace(role, followed=False, lost=lost)
        elif second is not None and (role.slot == "weight" or (beside and second > 0)):
            measured = fed is not None and fed.measured
            role = replace(role, second=rounded(second), measured=measured)
        if fed is not None and role.slot == "weight":
            role = replace(role, mean=fed.mean)
        if role.few:
            role = self._with_few(op, role, fed)
        if (join := self.graph.ending.get(op.index)) is not None:
            role = replace(role, start=self._starts.get(join.stream, 1.0))
        return role

    def _with_few(self, op: Op, role: Role, fed: Signal | None) -> Role:
        """Return the role of a layer of few inputs with what is known of these, and of its weight."""
        given = sources(self.graph, op.inputs[0]) if len(role.few) > FEW else ()
        if any(is_in_units_of_output(self.graph, value) for value in given):
            return replace(role, few=())
        known = features(self.graph, op.inputs[0])
        variance = 0.0 if fed is None else fed.second - fed.mean**2
        if not known and fed is not None and variance > 0:
            known = ((fed.mean, math.sqrt(variance)),) * len(role.few)
        if role.slot == "bias":
            use = next(use for use in op.uses if use.slot == "weight")
            drawn = self.chosen.get(use.parameter)
            if drawn is not None and drawn.initializer is not None:
                layout = self.roles[use.parameter].layout
                role = replace(role, beside=Beside(use.parameter, layout, drawn.initializer))
        return replace(role, few=rounded_features(known) if known else role.few)

    def _size_of_rows(self, op: Op) -> float:
        """Return the second moment of the rows of a lookup, whatever they are added to."""
        for use in op.uses:
            role = self.roles[use.parameter]
            filled = choose(role, self.method).meant
            if use.slot == "table" and filled is not None:
                mean, std = filled.mean_for(role.layout), filled.std_for(role.layout)
                return (mean**2 + std**2) * role.layout.fan_in
        return 1.0

    def _made_of(self, op: Op, use: Use, role: Role, fed: Signal | None) -> dict[str, Choice]:
        """Return what the parameters get that make the tensor that an operation uses."""
        made = use.made
        assert made is not None, "the caller asks"
        wanted = choose(replace(role, layout=made.layout), self.method)
        mine = [other for other in op.uses if other.made is made]
        decided = [u for u in mine if u.kind != "weight" or self._is_decided(u.parameter)]
        fixed = {u.parameter: self.fill(op, u, fed) for u in decided}
        shared = 0.0
        if fed is not None and role.slot == "weight" and fed.second > 0:
            shared = rounded(fed.mean**2 / fed.second)
        return solve(self.graph.made_as_filled(made), wanted, fixed, shared)

    def _is_decided(self, name: str) -> bool:
        """Return whether what a parameter gets does not depend on what is made of it."""
        return name in self.chosen or self._keeps(name)

    def _keeps(self, name: str) -> bool:
        """Return whether a parameter keeps the values that it has."""
        before = self.roles[name].before
        if before is None or (before.kind in ("random", "unwritten") and not before.kept):
            return False
        return bool(choose(self.roles[name], self.method).kept)


def _copies(chosen: dict[str, Choice]) -> dict[str, Choice]:
    """Return what the copies of parameters get: what these get, if a plan gives them anything."""
    found = {}
    for name, choice in chosen.items():
        original = chosen.get(choice.copies)
        if original is None:
            continue
        made = original.initializer
        of = choice.copies if made is not None else ""
        found[name] = replace(choice, initializer=made, source=original.source, copies=of)
    return found


def _first_on_constant(graph: Graph, op: Op, name: str) -> bool:
    """Return whether a weight is applied to a constant here, and to a signal later.

    So is one of a loop over time, whose state starts as zeros.
    """
    if op.kind != "map" or op.inputs:
        return False
    return any(later.kind == "map" and later.inputs for later, _ in graph.uses_of(name))
