"""All that the finders look at, and what they say of a weight."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from isoinit._reading.graph import BESIDE, Graph, Op
from isoinit._reading.roles import Role
from isoinit._verifying.copies import Shaped
from isoinit._verifying.health.doubts import Ahead
from isoinit._verifying.health.planned import Planned
from isoinit._verifying.health.records import Measurement, WeightHealth
from isoinit._verifying.health.series import Series, find_series
from isoinit._verifying.health.words import Words

# What stands between a map and the signal that it gates or moves: a squashing function, a constant.
SQUASHING = "sigmoid tanh softmax hardsigmoid softplus exp"
BETWEEN = frozenset(
    f"{SQUASHING} mul div add sub neg rsub affine_grid affine_grid_generator".split()
)


@dataclass(frozen=True)
class Facts:
    """All that the finders look at.

    Attributes:
        measured: the signal.
        weights: the parameters, measured.
        roles: what each is for.
        parameters: the parameters themselves, of any framework: their shapes are read.
        trained: the names of those that are trained.
        examples: how many examples the batch holds; None where its tensors do not agree.
        identical: whether they are all the same.
        resting: the layers that behave otherwise in training than in the mode the model is in.
        optimizer: what the first step of training was reckoned for.
        ahead: what is zero or alike, and stays so when training begins.
        given: what the plan has that was given to the check; None without one.
        chosen: returns what a plan would choose now.
        influence: whether the loss changes with some parameters; runs the model.
        copies: returns those of some parameters that hold the same random values, in groups.
        words: how the user's framework calls what is to be done.
    """

    measured: Measurement
    weights: dict[str, WeightHealth]
    roles: dict[str, Role]
    parameters: Mapping[str, Shaped]
    trained: frozenset[str]
    examples: int | None
    identical: bool
    resting: tuple[str, ...]
    optimizer: str
    ahead: Ahead
    given: Planned | None
    chosen: Callable[[], Planned]
    influence: Callable[[Collection[str]], bool]
    copies: Callable[[Sequence[str]], list[list[str]]]
    words: Words

    @cached_property
    def series(self) -> list[Series]:
        """The layers that are compared by depth."""
        return find_series(self.measured.graph, self.measured.layers, self.roles)

    @cached_property
    def choices(self) -> Planned:
        """What `isoinit.plan` would choose; worked out only where a finding tells it."""
        return self.chosen()

    def is_meant(self, name: str) -> bool:
        """Whether recipes start with zero at the place of a parameter.

        At the end of a residual branch, of an adapter or of the model, or where what it makes is
        added to another signal or multiplies one: a gate, a shift, a modulation.
        """
        graph, role = self.measured.graph, self.roles[name]
        uses = graph.uses_of(name)
        if role.slot == "weight" and (role.end == "output" or not role.must_differ):
            return True
        acts = role.slot == "weight" or (role.slot == "scale" and not role.of_norm)
        return any(
            op.index in graph.ending or (acts and _meets_another(graph, op)) for op, _ in uses
        )


def _meets_another(graph: Graph, op: Op) -> bool:
    """Whether what a map makes is added to another signal or multiplies one, perhaps in parts."""
    made = op.outputs[0]  # what comes of it is its own, such as the two sides of x·sigmoid(x)
    waiting, seen = [made], set()
    while waiting:
        value = waiting.pop()
        seen.add(value)
        for step in graph.consumers.get(value, ()):
            others = [v for v in step.inputs if not graph.depends(v, made) and _is_signal(graph, v)]
            if others and step.kind in ("other", "attention") and step.name not in BESIDE:
                return True
            if not others and (step.kind == "move" or step.name in BETWEEN):
                waiting.extend(v for v in step.outputs if v not in seen)
    return False


def _is_signal(graph: Graph, value: int) -> bool:
    """Whether a value is no table's row, such as a position."""
    maker = graph.producers.get(graph.trunk(value))
    return maker is None or maker.kind != "lookup"
