"""All that the finders look at, and what they say of a weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from isoinit._planning.choose import choose_all
from isoinit._planning.measured import readers
from isoinit._planning.propagation import Moments
from isoinit._reading.roles import Role
from isoinit._verifying.health.measure import Measurement
from isoinit._verifying.health.weights import WeightHealth
from isoinit.errors import IsoinitError
from isoinit.initializers import Initializer

APPLY = "apply isoinit.plan(model, batch), which scales each layer for the activation beside it"
ENDS = ("weight", "scale")  # what a branch is multiplied by at its end


@dataclass(frozen=True)
class Facts:
    """All that the finders look at.

    Attributes:
        measured: the signal.
        weights: the parameters, measured.
        roles: what each is for.
        parameters: the parameters themselves.
        examples: how many examples the batch holds; None where its tensors do not agree.
        identical: whether they are all the same.
        resting: the layers that behave otherwise in training than in the mode the model is in.
        optimizer: what the first step of training was reckoned for.
    """

    measured: Measurement
    weights: dict[str, WeightHealth]
    roles: dict[str, Role]
    parameters: dict[str, nn.Parameter]
    examples: int | None
    identical: bool
    resting: tuple[str, ...]
    optimizer: str

    @cached_property
    def planned(self) -> dict[str, Initializer | None]:
        """What a plan would give each parameter; worked out only where a finding tells it.

        A weight whose signal cannot be worked out is missing: a plan would run the model for it.
        """
        moments = Moments()
        try:
            chosen = choose_all(self.measured.graph, self.roles, moments=moments)
        except IsoinitError:
            return {}
        unknown = {n for value in moments.unknown for n in readers(self.measured.graph, value)}
        return {name: c.initializer for name, c in chosen.items() if name not in unknown}

    @cached_property
    def silent(self) -> frozenset[str]:
        """The parameters that a residual branch ends with and that are zero, as recipes have it."""
        graph = self.measured.graph
        ends = {
            use.parameter
            for join in graph.joins.values()
            for index in join.ends
            for use in graph.ops[index].uses
            if self.roles[use.parameter].slot in ENDS
        }
        return frozenset(name for name in ends if self.weights[name].largest == 0)

    @cached_property
    def shut(self) -> frozenset[int]:
        """The values in residual branches that end with zero: by design no gradient comes there."""
        graph = self.measured.graph
        found: set[int] = set()
        for join in graph.joins.values():
            ends = {use.parameter for index in join.ends for use in graph.ops[index].uses}
            if ends & self.silent:
                found.update(v for index in graph.inside(join) for v in graph.ops[index].outputs)
        return frozenset(found)

    def planned_std(self, name: str) -> float:
        """The standard deviation that a plan would give a parameter; zero where it gives none."""
        initializer = self.planned.get(name)
        if initializer is None:
            return 0.0
        try:
            return initializer.std_for(self.roles[name].layout)
        except IsoinitError:
            return 0.0

    def would_set(self, name: str) -> str:
        """What a plan would set a weight's standard deviation to; empty where it would not."""
        planned = self.planned_std(name)
        if planned == 0:
            return ""
        now = self.weights[name].std
        kind = type(self.planned[name]).__name__
        return f"plan.apply would set {name} to std {planned:.3g} ({kind}), now {now:.3g}"

    def furthest(self, layers: Sequence[str]) -> str:
        """Of some layers, what a plan would do with the weight that is furthest from it."""
        known = {n.removesuffix(".weight"): n for n in self.roles if self.roles[n].slot == "weight"}
        far: dict[str, float] = {}
        for name in (known[layer] for layer in layers if layer in known):
            planned, now = self.planned_std(name), self.weights[name].std
            if planned > 0 and now > 0:
                far[name] = max(now / planned, planned / now)
        worst = max(far, key=far.__getitem__, default="")
        return self.would_set(worst) if worst and far[worst] > 1.1 else ""
