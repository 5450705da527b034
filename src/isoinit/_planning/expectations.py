"""What a plan expects at the output of each layer: the signal, and the gradient that comes back."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from isoinit._planning.digits import rounded
from isoinit._planning.forecast import forecast
from isoinit._planning.propagation import Moments, Signal, propagate
from isoinit._planning.propagation.backward import propagate_back
from isoinit._planning.propagation.context import Context
from isoinit._planning.rules import Choice
from isoinit._reading.graph import Graph, Op, Use
from isoinit._system.collecting import uncollected
from isoinit.initializers import Initializer


@dataclass(frozen=True)
class Expected:
    """What is expected at the output of each layer, by the name of its weight.

    Attributes:
        signal: the root mean square of the output.
        gradient: that of the loss's gradient by the output, for noise of size one at the model's
            outputs (`propagation.backward.propagate_back`); 0 where none comes back.
        warnings: what vanishes or explodes on its way.
    """

    signal: dict[str, float] = field(default_factory=dict)
    gradient: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@uncollected()
def expected(graph: Graph, choices: dict[str, Choice], moments: Moments | None = None) -> Expected:
    """Return what is expected of each layer's output; what cannot be worked out is missing.

    The moments and sizes are those of the example, as a check on the same batch measures them.
    """
    if graph.how == "structure":
        return Expected()

    def fill(_op: Op, use: Use, _fed: Signal | None) -> Initializer | None:
        return choices[use.parameter].meant

    signals = propagate(graph, fill, moments=moments)
    gradients = propagate_back(Context(graph, fill, nominal=False, signals=signals))
    came = {v: math.sqrt(g.second) for v, g in gradients.items() if g is not None}
    back = {
        weight: rounded(came.get(value, 0.0))
        for weight, value in _made(graph).items()
        if gradients and (value in came or value not in gradients)
    }
    return Expected(outputs(graph, signals), back, forecast(graph, signals, gradients))


def outputs(graph: Graph, signals: Mapping[int, Signal]) -> dict[str, float]:
    """Return the root mean square of each layer's first output, by the name of its weight.

    What the first step of a loop makes of a state of zeros tells nothing.
    """
    told = {v for v in signals if (op := graph.producers.get(v)) is None or op.inputs}
    made = _made(graph, told).items()
    return {weight: rounded(signals[value].rms) for weight, value in made}


def _made(graph: Graph, wanted: Container[int] | None = None) -> dict[str, int]:
    """Return the first output of each layer, of those wanted, by the name of its weight."""
    found: dict[str, int] = {}
    for op in graph.ops:
        weights = [use for use in op.uses if "weight" in use.slot and use.kind == "weight"]
        for use in weights if weights and weights[0].made else weights[:1]:
            if wanted is None or op.outputs[0] in wanted:
                found.setdefault(use.parameter, op.outputs[0])
    return found
