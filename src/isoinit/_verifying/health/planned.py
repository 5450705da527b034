"""What a plan gives the parameters that a check looks at: the plan it was given, or a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from isoinit._planning.decide import chosen_for
from isoinit._planning.measured import readers
from isoinit._planning.plan import Plan
from isoinit._reading.graph import Graph
from isoinit._reading.roles import Role
from isoinit._verifying.health.records import LayerHealth
from isoinit.errors import IsoinitError
from isoinit.initializers import Initializer


@dataclass(frozen=True)
class Planned:
    """What each parameter gets.

    Attributes:
        initializers: by name; of those that the plan fills.
        roles: what each is for.
        kept: the parameters that the plan leaves as they are.
        lost: those whose signal cannot be worked out without a run of the planned model.
    """

    initializers: Mapping[str, Initializer]
    roles: Mapping[str, Role]
    kept: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()

    def of(self, name: str) -> Initializer | None:
        """What fills a parameter; None where nothing does, or where it is not known."""
        return self.initializers.get(name)

    def std(self, name: str) -> float:
        """The standard deviation that a parameter gets; zero where it gets none."""
        initializer = self.of(name)
        try:
            return initializer.std_for(self.roles[name].layout) if initializer else 0.0
        except IsoinitError:
            return 0.0

    def is_zero(self, name: str) -> bool:
        """Whether a parameter is to start at zero."""
        initializer = self.of(name)
        return initializer is not None and initializer.mean_for(self.roles[name].layout) == 0


def given(plan: Plan, roles: Mapping[str, Role]) -> Planned:
    """Return what a plan has for each parameter."""
    fills = {e.name: e.initializer for e in plan if e.initializer is not None and not e.kept}
    return Planned({n: i for n, i in fills.items() if n in roles}, roles, frozenset(plan.kept))


def tell_expected(
    layers: Iterable[LayerHealth], plan: Plan | None, parent: Callable[[str], str] = str
) -> None:
    """Write what a plan expects at the output of each layer beside what was measured.

    Args:
        layers: what was measured.
        plan: the plan; None for none.
        parent: returns the parameter that a name is a part of, where it is one.
    """
    if plan is None:
        return
    for layer in layers:
        names = [parent(name) for name in (f"{layer.name}.weight", layer.name)]
        layer.expected = next((plan[name].expected for name in names if name in plan), None)


def worked_out(graph: Graph, roles: dict[str, Role]) -> Planned:
    """Return what a plan would choose now, as far as that is known without another run.

    Args:
        graph: what ran.
        roles: what the parameters are for, and what is known of the values that a plan may keep.
    """
    try:
        _, chosen, moments = chosen_for(graph, roles)
    except IsoinitError:  # such as an unusual shape: then no number is told
        return Planned({}, roles)
    kept = frozenset(name for name, choice in chosen.items() if choice.kept)
    lost = frozenset(n for value in moments.unknown for n in readers(graph, value))
    fills = {n: c.initializer for n, c in chosen.items() if c.initializer is not None}
    return Planned({n: i for n, i in fills.items() if n not in kept | lost}, roles, kept, lost)
