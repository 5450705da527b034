"""All that the finders look at, and what they say of a weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from isoinit._planning.choose import choose_all
from isoinit._planning.measured import readers
from isoinit._planning.propagation import Moments
from isoinit._reading.graph import Graph, Op
from isoinit._reading.roles import Role
from isoinit._verifying.health.ahead import Ahead
from isoinit._verifying.health.measure import Measurement
from isoinit._verifying.health.series import Series, find_series
from isoinit._verifying.health.weights import WeightHealth
from isoinit.errors import IsoinitError
from isoinit.initializers import Initializer

APPLY = "apply isoinit.plan(model, batch), which scales each layer for the activation beside it"
# What stands between a map and the signal that it gates or moves: a squashing function, a constant.
SQUASHING = "sigmoid tanh softmax hardsigmoid softplus exp"
BETWEEN = frozenset(
    f"{SQUASHING} mul div add sub neg rsub affine_grid affine_grid_generator".split()
)
JOINED = frozenset("cat concat stack hstack vstack".split())  # side by side, and no more


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
        ahead: what is zero or alike, and stays so when training begins.
    """

    measured: Measurement
    weights: dict[str, WeightHealth]
    roles: dict[str, Role]
    parameters: dict[str, nn.Parameter]
    examples: int | None
    identical: bool
    resting: tuple[str, ...]
    optimizer: str
    ahead: Ahead

    @cached_property
    def series(self) -> list[Series]:
        """The layers that are compared by depth."""
        return find_series(self.measured.graph, self.measured.layers, self.roles)

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

    def is_meant(self, name: str) -> bool:
        """Whether recipes start with zero at the place of a parameter.

        At the end of a residual branch, of an adapter or of the model, or where what it makes is
        added to another signal or multiplies one: a gate, a shift, a modulation.
        """
        graph, role = self.measured.graph, self.roles[name]
        uses = graph.uses_of(name)
        if role.slot == "weight" and (role.end == "output" or not role.must_differ):
            return True
        return any(
            op.index in graph.ending or (role.slot == "weight" and _meets_another(graph, op))
            for op, _ in uses
        )

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


def _meets_another(graph: Graph, op: Op) -> bool:
    """Whether what a map makes is added to another signal or multiplies one, perhaps in parts."""
    waiting, seen = [op.outputs[0]], set()
    while waiting:
        value = waiting.pop()
        seen.add(value)
        for step in graph.consumers.get(value, ()):
            others = [v for v in step.inputs if v not in seen and _is_signal(graph, v)]
            if others and step.kind in ("other", "attention") and step.name not in JOINED:
                return True
            if not others and (step.kind == "move" or step.name in BETWEEN):
                waiting.extend(v for v in step.outputs if v not in seen)
    return False


def _is_signal(graph: Graph, value: int) -> bool:
    """Whether a value is no table's row, such as a position."""
    maker = graph.producers.get(graph.trunk(value))
    return maker is None or maker.kind != "lookup"
