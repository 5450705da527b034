"""Constants that a constructor gave and that would leave the weights behind them nothing to read.

A last layer of zeros starts a branch or an output at nothing, on purpose. Zeros in the middle of a
path are what memory holds before anybody fills it: no signal passes, and no gradient comes back. Nor
does any where a scale that starts at zero multiplies what a layer of zeros makes: of two factors that
are both zero neither has a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from isoinit._planning.rules import Choice
from isoinit._reading.graph import Graph
from isoinit._reading.roles import Role
from isoinit.initializers import Constant, Ones, Zeros


def fed_again(
    graph: Graph, roles: Mapping[str, Role], choices: Mapping[str, Choice]
) -> dict[str, Role]:
    """Return the roles, without what is known of the constants that leave a weight without a signal.

    Args:
        graph: what the model does.
        roles: what each parameter is for.
        choices: what it gets, if those constants are kept.
    """
    constant = (Constant, Ones, Zeros)
    kept = [
        n for n, c in choices.items() if c.kept == "own" and isinstance(c.initializer, constant)
    ]
    starved = [
        op.outputs[0]
        for op in graph.ops
        if op.kind == "map" and any(_reads_nothing(choices.get(use.parameter)) for use in op.uses)
    ]
    found = dict(roles)
    for name in _shut_twice(graph, choices).intersection(kept):
        found[name] = replace(roles[name], before=None)
    leading = graph.leading_to(starved)
    for name in kept if starved else ():
        readers = [
            r for op, _ in graph.uses_of(name) for r in graph.consumers.get(op.outputs[0], ())
        ]
        if any(not leading.isdisjoint(reader.outputs) for reader in readers):
            found[name] = replace(roles[name], before=None)
    return found


def _reads_nothing(choice: Choice | None) -> bool:
    """Return whether a weight gets no signal at all."""
    return choice is not None and dict(choice.numbers).get("E[x²]") == 0


def _shut_twice(graph: Graph, choices: Mapping[str, Choice]) -> set[str]:
    """Return the weights of zeros whose output a scale multiplies that is to start at zero, too."""
    found = set()
    for op in graph.ops:
        scales = [use for use in op.uses if use.slot == "scale" and not use.through]
        if any(_is_zero(choices.get(use.parameter)) for use in scales):
            value, maker = op.inputs[0], None
            while (step := graph.producers.get(graph.trunk(value))) is not None:
                maker = step
                if not step.is_neutral:
                    break
                value = step.inputs[0]
            uses = maker.uses if maker is not None and maker.kind == "map" else ()
            found |= {u.parameter for u in uses if _is_zero(choices.get(u.parameter))}
    return found


def _is_zero(choice: Choice | None) -> bool:
    """Return whether a parameter is to start with zeros alone."""
    initializer = choice.initializer if choice is not None else None
    return isinstance(initializer, Zeros) or initializer == Constant(0.0)
