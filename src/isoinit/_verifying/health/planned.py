"""What a plan gives the parameters that a check looks at: the plan it was given, or a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from isoinit._drawing.streams.philox import NORMAL, UNIFORM
from isoinit._planning.decide import chosen_for
from isoinit._planning.measured import readers
from isoinit._planning.plan import Plan
from isoinit._reading.graph import Graph
from isoinit._reading.roles import Role
from isoinit._showing.page import Density
from isoinit._verifying.health.records import LayerHealth, WeightHealth
from isoinit.errors import IsoinitError
from isoinit.initializers import Initializer

FORMS = {NORMAL: "normal", UNIFORM: "uniform"}  # of which the density is drawn


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


def with_planned(
    weights: Mapping[str, WeightHealth], planned: Planned | None
) -> list[WeightHealth]:
    """Return parameters, what a plan draws them from beside the histograms of their values."""
    if planned is None:
        return list(weights.values())
    found = []
    for weight in weights.values():
        density = _density(planned, weight.name)
        if weight.histogram is not None and density is not None:
            weight = replace(weight, histogram=replace(weight.histogram, planned=density))
        found.append(weight)
    return found


def _density(planned: Planned, name: str) -> Density | None:
    """What a plan draws a parameter from."""
    initializer = planned.of(name)
    if initializer is None:
        return None
    layout = planned.roles[name].layout
    try:
        mean, std = initializer.mean_for(layout), initializer.std_for(layout)
        law = initializer.law(layout, np.dtype(np.float64))
    except IsoinitError:  # what only the model knows
        return None
    form = "" if law is None else FORMS.get(law.kind, "")
    return Density(mean, std, form, f"planned: {initializer}, std {std:.3g}")


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
