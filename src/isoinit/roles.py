"""What each parameter is for, read from the graph: the facts that the rules decide on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from isoinit.errors import ArgumentError
from isoinit.graph import GRID, SUMS, Array, Following, Graph, Op, Use, following
from isoinit.scale import fans
from isoinit.scale.fans import Layout
from isoinit.scale.gains import ACTIVATIONS, activation_gain, function_gain


@dataclass(frozen=True)
class Activation:
    """The function that a weight's output goes through, as it was measured.

    Attributes:
        name: a known name, or the operations that make it up, such as "mul·sigmoid·mul".
        slope: a leaky ReLU's slope on the negative side; 0 for all others.
        function: the function itself.
    """

    name: str
    slope: float = 0.0
    function: Callable[[Array], Array] = field(default=np.positive, compare=False, repr=False)

    @cached_property
    def gain(self) -> float:
        """E[φ(z)²]^(-1/2), exact for known names and by quadrature for any other."""
        if self.name == "leaky_relu":
            return activation_gain(self.name, self.slope)
        if self.name == "relu" or self.name in ACTIVATIONS:
            return activation_gain(self.name)
        return function_gain(self.function, self.name)


@dataclass(frozen=True)
class Role:
    """What a parameter is for.

    Attributes:
        parameter: its name.
        slot: what the operation does with it: see `isoinit.graph.Use`; "unknown" if no operation
            that used it is understood.
        layout: what its axes mean.
        op: the name of the operation that uses it.
        activation: for a weight, the function that follows; None where none does.
        end: for a weight, the operation that its signal goes to next.
        branches: how many residual branches the model's sums collect.
        norm: whether a norm layer stands between the weight and what follows.
        ends_branch: whether its output is added to a residual stream.
        tied: its other slot, where two layers share it: an embedding that is also the output layer.
        guess: whether it was read from the modules alone, because no run of the model used it.
    """

    parameter: str
    slot: str
    layout: Layout
    op: str
    activation: Activation | None = None
    end: str = ""
    norm: bool = False
    ends_branch: bool = False
    branches: int = 0
    tied: str = ""
    guess: bool = False

    def __str__(self) -> str:
        words = "embedding" if self.slot == "table" else self.slot
        if self.slot == "weight":
            if self.ends_branch:
                words += " ending a residual branch"
            elif self.activation:
                words += f" before {self.activation.name}"
            elif self.end == "output":
                words += " of the output"
        if self.slot in ("scale", "shift") and self.op.endswith("norm"):
            words = f"norm {words}"
        return f"{words}, tied to {self.tied}" if self.tied else words


def read_roles(graph: Graph, fallback: Callable[[], Graph]) -> dict[str, Role]:
    """The role of every parameter, in the order of the model.

    Args:
        graph: what a run of the model showed, or the graph of its modules.
        fallback: makes the graph of its modules, which is asked about the parameters that the run
            never used, if there are any.
    """
    joins = [joined for op in graph.ops if (joined := graph.residual(op)) is not None]
    ends = {end for skip, branch in joins for end in _last_weights(graph, branch, skip)}
    found = {name: _role(graph, name, ends) for name in graph.shapes}
    found = {name: role and replace(role, branches=len(joins)) for name, role in found.items()}
    if graph.how == "structure":
        found = {name: role and replace(role, guess=True) for name, role in found.items()}
    elif any(role is None for role in found.values()):
        modules = fallback()
        for name in [name for name, role in found.items() if role is None]:
            role = _role(modules, name, set())
            found[name] = role and replace(role, guess=True)
    return {
        name: role or Role(name, "unknown", fans.vector(graph.shapes[name]), "")
        for name, role in found.items()
    }


def _role(graph: Graph, name: str, ends: set[int]) -> Role | None:
    uses = [(op, use) for op, use in graph.uses_of(name) if use.slot != "other"]
    if not uses:
        return None
    op, use = uses[0]
    tied = next((u.slot for _, u in uses if u.slot != use.slot), "")
    tied = {"weight": "an output weight", "table": "an embedding"}.get(tied, tied)
    ending = op.index in ends
    if use.slot == "weight" and (gates := _recurrent_layout(graph, uses)):
        return Role(name, "recurrent weight", gates, op.name)
    role = Role(name, use.slot, use.layout, op.name, ends_branch=ending, tied=tied)
    if use.slot != "weight":
        return role
    what_follows = following(graph, op.outputs[0])
    return replace(
        role,
        activation=_identify(what_follows),
        end=what_follows.end,
        norm=what_follows.norm,
    )


def _identify(what_follows: Following) -> Activation | None:
    """Name a function by its values, so that a ReLU spelled `clamp(min=0)` is a ReLU."""
    if not what_follows.names:
        return None
    values = what_follows.function(GRID)
    negative = GRID < 0
    if np.allclose(values[~negative], GRID[~negative], rtol=1e-6, atol=1e-6):
        slope = float(f"{values[0] / GRID[0]:.9g}")  # 0.2, not 0.19999999999999998
        if np.allclose(values[negative], slope * GRID[negative], rtol=1e-6, atol=1e-6):
            name = "leaky_relu" if abs(slope) > 1e-9 else "relu"
            return Activation(name, slope if name == "leaky_relu" else 0.0, what_follows.function)
    for name, function in ACTIVATIONS.items():
        if np.allclose(values, function(GRID, 1.0), rtol=1e-5, atol=1e-6):
            return Activation(name, function=what_follows.function)
    names = dict.fromkeys(what_follows.names)
    measured = Activation("·".join(names), function=what_follows.function)
    try:
        _ = measured.gain
    except ArgumentError:  # a logarithm, a reciprocal: no gain exists, so none can be kept
        return None
    return measured


def _recurrent_layout(graph: Graph, uses: list[tuple[Op, Use]]) -> Layout | None:
    """The layout of a weight that a loop applies to its own state; None for any other.

    It is used again on what came of its own output, and that output joins a fresh input in a sum:
    layers that are merely shared through depth join theirs with a residual skip. Gates may be
    stacked along the output.
    """
    (first, use), *later = uses
    if not any(op.inputs and graph.depends(op.inputs[0], on=first.outputs[0]) for op, _ in later):
        return None
    joins = [op for op in graph.consumers.get(first.outputs[0], []) if op.name in SUMS]
    n_in, n_out = use.layout.fan_in, use.layout.fan_out
    plain = use.layout.kind == "linear" and len(use.layout.shape) == 2
    if not plain or n_out % n_in or not any(graph.residual(op) is None for op in joins):
        return None
    transposed = use.layout.in_[0] < use.layout.out[0]
    return fans.linear(use.layout.shape, int(n_out // n_in), transposed=transposed)


def _last_weights(graph: Graph, branch: int, start: int) -> set[int]:
    """What writes to a residual stream: from a branch's end back to the nearest parameters on it."""
    found: set[int] = set()
    waiting, seen = [branch], {start}
    while waiting:
        value = waiting.pop()
        op = graph.producers.get(value)
        if value in seen or op is None or not graph.depends(value, on=start):
            continue
        seen.add(value)
        if op.uses:
            found.add(op.index)
        elif op.kind in ("move", "other"):
            waiting.extend(op.inputs)
    return found
