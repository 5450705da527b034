"""Chooses for every parameter in the order of execution, with the signal that the choices make.

A weight's input depends on what the weights before it were given, so choosing and propagating
alternate: each layer is chosen for the second moment that reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass, field, replace

from isoinit._planning.beside import second_beside
from isoinit._planning.charts import carried, companions
from isoinit._planning.effective import solve
from isoinit._planning.forecast import forecast
from isoinit._planning.propagation import Signal, propagate
from isoinit._planning.propagation.backward import propagate_back
from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.lost import why_lost
from isoinit._planning.rules import Choice, choose, sine_frequency
from isoinit._reading.graph import COMPOSED, Graph, Join, Op, Use
from isoinit._reading.plain_stacks import Chain
from isoinit._reading.roles import Role
from isoinit._reading.subgraphs import skip_scale
from isoinit.initializers import Initializer

# A bias of attention scores, or what joins nothing that is known: 0.02² (Liu et al. 2021).
SMALL = 4e-4


def choose_all(graph: Graph, roles: dict[str, Role], method: str = "auto") -> dict[str, Choice]:
    """Return what every parameter gets, in the order of `roles`.

    The signal is the nominal one (`propagation.propagate`): a plan depends on the model, and not on
    the numbers in the example, its length, or how many examples there are.

    Raises:
        ArgumentError: for an unknown method.
    """
    chosen: dict[str, Choice] = {}
    starts: dict[int, float] = {}

    def fill(op: Op, use: Use, fed: Signal | None) -> Initializer | None:
        name = use.parameter
        if name not in chosen:
            role = roles[name]
            second = fed.second if fed is not None else None
            if op.kind == "lookup" or not op.inputs:
                second = second_beside(graph, op, signals)
            beside = role.slot in ("position", "token")
            if second is None and beside:
                role = replace(role, second=SMALL)
            elif second is None and role.slot == "weight":
                lost = why_lost(graph, signals, op.inputs[0]) if op.inputs else ""
                role = replace(role, followed=False, lost=lost)
            elif second is not None and second > 0 and (beside or role.slot == "weight"):
                role = replace(role, second=_rounded(second))
            if (join := graph.ending.get(op.index)) is not None:
                role = replace(role, start=starts.get(join.stream, 1.0))
            if use.made is None or use.kind != "weight" or use.slot not in COMPOSED:
                found = {name: choose(role, method)}
            else:
                found = made_of(op, use, role, fed)
            for other, choice in found.items():
                chosen[other] = carried(graph, other, roles[other].layout, choice)
        return chosen[name].initializer

    def made_of(op: Op, use: Use, role: Role, fed: Signal | None) -> dict[str, Choice]:
        """What the parameters get that make the tensor that an operation uses."""
        made = use.made
        assert made is not None, "the caller asks"
        wanted = choose(replace(role, layout=made.layout), method)
        mine = [other for other in op.uses if other.made is made]
        decided = [u for u in mine if u.kind != "weight" or u.parameter in chosen]
        fixed = {u.parameter: fill(op, u, fed) for u in decided}
        shared = 0.0
        if fed is not None and role.slot == "weight" and fed.second > 0:
            shared = _rounded(fed.mean**2 / fed.second)
        return solve(made, wanted, fixed, shared)

    signals: dict[int, Signal] = {}

    def seen(value: int, signal: Signal) -> None:
        signals[value] = signal
        for join in streams.get(value, ()):
            second = signal.second * skip_scale(graph, join) ** 2
            if second > 0:
                starts.setdefault(join.stream, _rounded(second))

    streams: dict[int, list[Join]] = {}
    for join in graph.joins.values():
        streams.setdefault(join.start, []).append(join)
    propagate(graph, fill, nominal=True, seen=seen)
    targets = _outputs(graph, signals)
    for name, role in roles.items():
        if name not in chosen:
            chosen[name] = carried(graph, name, role.layout, choose(role, method))
    chosen |= companions(graph, roles, chosen)
    return {name: replace(chosen[name], target=targets.get(name)) for name in roles}


def _rounded(number: float) -> float:
    """Round to six digits: the last bits of a sum depend on the processor, and a plan must not."""
    return float(f"{number:.6g}")


def doubts(roles: dict[str, Role]) -> tuple[str, ...]:
    """Return where no choice can keep signal and gradient alive: why, and what would."""
    found: dict[Chain, list[str]] = {}
    for role in roles.values():
        if role.slot != "weight" or role.chain is None or sine_frequency(role):
            continue  # fast sines have weights of their own
        if role.chain.hopeless:
            found.setdefault(role.chain, []).append(role.parameter)
    return tuple(_doubt(chain, names) for chain, names in found.items())


def _doubt(chain: Chain, names: list[str]) -> str:
    """Return the warning about the weights of one deep plain chain."""
    where = (
        f"{chain.length} layers in a row are joined by {chain.hopeless} alone ({names[0]!r} to "
        f"{names[-1]!r})"
    )
    safe = "a norm layer every few layers or residual branches"
    if chain.unknown:
        return (
            f"{where}, which is not followed: whether signal and gradient live through them is not "
            f"known, and isoinit.check measures it; {safe} would be safe"
        )
    biases = "biases in these layers, " if chain.unbiased else ""
    return (
        f"{where}: no weights are known to keep the signal, its gradient and the difference between "
        f"examples alive through them; {biases}{safe}, or another activation would"
    )


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


def expected(graph: Graph, choices: dict[str, Choice]) -> Expected:
    """Return what is expected of each layer's output; what cannot be worked out is missing.

    The moments and sizes are those of the example, as a check on the same batch measures them.
    """
    if graph.how == "structure":
        return Expected()

    def fill(_op: Op, use: Use, _fed: Signal | None) -> Initializer | None:
        return choices[use.parameter].initializer

    signals = propagate(graph, fill)
    gradients = propagate_back(Context(graph, fill, nominal=False, signals=signals))
    came = {v: math.sqrt(g.second) for v, g in gradients.items() if g is not None}
    back = {
        weight: _rounded(came.get(value, 0.0))
        for weight, value in _made(graph).items()
        if gradients and (value in came or value not in gradients)
    }
    return Expected(_outputs(graph, signals), back, forecast(graph, signals, gradients))


def _outputs(graph: Graph, signals: dict[int, Signal]) -> dict[str, float]:
    """Return the root mean square of each layer's first output, by the name of its weight."""
    made = _made(graph, signals).items()
    return {weight: _rounded(signals[value].rms) for weight, value in made}


def _made(graph: Graph, wanted: Container[int] | None = None) -> dict[str, int]:
    """Return the first output of each layer, of those wanted, by the name of its weight."""
    found: dict[str, int] = {}
    for op in graph.ops:
        weights = [use for use in op.uses if "weight" in use.slot and use.kind == "weight"]
        for use in weights if weights and weights[0].made else weights[:1]:
            if wanted is None or op.outputs[0] in wanted:
                found.setdefault(use.parameter, op.outputs[0])
    return found
