"""Decides what every parameter of a model gets, by the rule book, and runs the model where it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from isoinit._planning.choose import choose_all
from isoinit._planning.doubts import doubts
from isoinit._planning.expectations import Expected, expected
from isoinit._planning.measured import Runs, fills, lost_notes, measure
from isoinit._planning.propagation import Measured, Moments
from isoinit._planning.rules import Choice
from isoinit._planning.rules.keep import TRAINED
from isoinit._planning.starving import fed_again
from isoinit._reading.graph import Graph
from isoinit._reading.roles import Role
from isoinit._system.collecting import uncollected
from isoinit.errors import TraceError

RolesOf = Callable[[Graph], dict[str, Role]]

REREADS = 2  # runs until a forward that branches on values does the same as in the run before


@dataclass(frozen=True)
class Decided:
    """What each parameter of a model gets, and what is expected of its layers.

    Attributes:
        graph: what the model does.
        roles: what each parameter is for.
        choices: what it gets.
        expected: what is expected at the output of each layer.
        doubts: where no choice keeps signal and gradient alive.
        notes: what else is doubtful.
        otherwise: whether the model did other operations on real tensors than when it was read.
    """

    graph: Graph
    roles: dict[str, Role]
    choices: dict[str, Choice]
    expected: Expected = field(default_factory=Expected)
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    otherwise: bool = False


@np.errstate(all="ignore")  # what is not finite is not known: it needs no warning of NumPy's
def by_rules(runs: Runs, graph: Graph, method: str, roles_of: RolesOf) -> Decided:
    """Decide by the rule book, or by a method that was asked for.

    Args:
        runs: the model on the example that the graph was read with.
        graph: what the model does with it.
        method: as for `choose`.
        roles_of: reads what each parameter is for.
    """
    notes: tuple[str, ...] = ()
    if graph.how == "real":
        graph, notes = _settled(runs, graph, roles_of, method)
    decided = _chosen(runs, graph, roles_of, method)
    if decided.otherwise:  # such as a mask that is left out where it hides nothing
        graph, notes = _settled(runs, graph, roles_of, method)
        decided = _chosen(runs, graph, roles_of, method)
    return replace(decided, notes=(*notes, *decided.notes))


def _chosen(runs: Runs, graph: Graph, roles_of: RolesOf, method: str) -> Decided:
    """Return what `by_rules` does, for one reading of the model."""
    roles, choices, moments = chosen_for(graph, roles_of(graph), method)
    decided = Decided(graph, roles, choices, doubts=doubts(roles))
    return _measured(runs, decided, moments, method)


@uncollected()
def chosen_for(
    graph: Graph, roles: dict[str, Role], method: str = "auto"
) -> tuple[dict[str, Role], dict[str, Choice], Moments]:
    """Return what each parameter gets as far as it follows from a graph, without another run.

    Args:
        graph: what the model does.
        roles: what each parameter is for, and what is known of its values.
        method: as for `choose`.

    Returns:
        The roles, without what is known of values that are not kept; the choices; and the moments
        that they were made for.
    """
    # What is kept as it is may be of any size: whether zeros starve it shows in a plan for all.
    loose = {
        n: replace(role, before=None) if role.before and role.before.kept in TRAINED else role
        for n, role in roles.items()
    }
    moments = Moments()
    choices = choose_all(graph, loose, method, moments)
    fed = fed_again(graph, loose, choices)
    if loose != roles or fed != loose:
        drawn = {n for n, role in fed.items() if role.before is None and loose[n].before}
        roles = {n: replace(r, before=None) if n in drawn else r for n, r in roles.items()}
        moments = Moments()
        choices = choose_all(graph, roles, method, moments)
    return roles, choices, moments


@np.errstate(all="ignore")
def as_given(
    runs: Runs,
    graph: Graph,
    roles: dict[str, Role],
    choices: dict[str, Choice],
) -> Decided:
    """Return choices that were made otherwise, with what is expected of them."""
    return _measured(runs, Decided(graph, roles, choices), Moments(), "")


def _measured(runs: Runs, decided: Decided, lost: Moments, method: str) -> Decided:
    """Return what was decided with what is expected of it, measured where it cannot be worked out.

    Args:
        runs: the model on the example that the graph was read with.
        decided: what each parameter gets, if all that is lost is taken to be of unit size.
        lost: what was asked for when it was decided.
        method: as for `choose`; "" where the choices stand.
    """
    graph, roles, choices = decided.graph, decided.roles, decided.choices
    if graph.how == "structure":
        return replace(decided, expected=expected(graph, choices))
    known, more = Measured(), Moments()
    walked = expected(graph, choices, more)
    asked, new = {**lost.asked, **more.asked}, True
    while asked and new:  # what is measured changes choices, and these what is lost behind
        known = measure(runs, graph, asked, roles, choices, method)
        lost, more = Moments(known.known), Moments(known.known)
        if method:
            choices = choose_all(graph, roles, method, lost)
        walked = expected(graph, choices, more)
        new = not known.why and not asked.keys() >= {**lost.unknown, **more.unknown}.keys()
        asked = {**asked, **lost.unknown, **more.unknown}
    if any(choice.grown for choice in choices.values()):  # what is expected is before it grows
        if asked:
            found = measure(runs, graph, asked, roles, choices)
            walked = expected(graph, choices, Moments(found.known))
        aims = {n: walked.signal.get(n) if c.target else None for n, c in choices.items()}
        choices = {name: replace(choice, target=aims[name]) for name, choice in choices.items()}
    notes = (*known.notes, *lost_notes(graph, lost.unknown, known.why, choices)) if method else ()
    return replace(
        decided,
        choices=choices,
        expected=walked,
        notes=notes,
        otherwise=known.otherwise,
    )


def _settled(
    runs: Runs, graph: Graph, roles_of: RolesOf, method: str
) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph of a forward that branches on values, with the values of its own plan.

    Its loops may run for longer or shorter with them than with those that the model holds.
    """
    for _ in range(REREADS):
        roles = roles_of(graph)
        choices = choose_all(graph, roles, method)
        try:
            again = runs.again(fills(graph, roles, choices))
        except TraceError as error:
            return graph, (f"read with the values that the model holds, not the plan's: {error}",)
        if again is None:
            return graph, ()
        same = [op.name for op in again.ops] == [op.name for op in graph.ops]
        graph = again
        if same:
            return graph, ()
    return graph, (
        "the forward branches on values, and does other operations with each plan that is made for "
        "it: what feeds its layers is known for one of these runs only",
    )
