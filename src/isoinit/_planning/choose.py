"""Chooses for every parameter in the order of execution, with the signal that the choices make.

A weight's input depends on what the weights before it were given, so choosing and propagating
alternate: each layer is chosen for the second moment that reaches it.
"""

from __future__ import annotations

from dataclasses import replace

from isoinit._planning.propagation import Signal, propagate
from isoinit._planning.rules import Choice, choose, sine_frequency
from isoinit._reading.graph import PRODUCTS, Graph, Op, Use
from isoinit._reading.plain_stacks import Chain
from isoinit._reading.roles import Role
from isoinit.initializers import Initializer

# A bias of attention scores, or what joins nothing that is known: 0.02² (Liu et al. 2021).
SMALL = 4e-4
JOINING = ("add", "cat", "concat", "stack", "where")


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
            near = fed if op.inputs and op.kind != "lookup" else _beside(graph, op, signals)
            beside = role.slot in ("position", "token")
            if near is None and beside:
                role = replace(role, second=SMALL)
            elif near is None and role.slot == "weight":
                role = replace(role, followed=False)
            elif near is not None and near.second > 0 and (beside or role.slot == "weight"):
                role = replace(role, second=_rounded(near.second))
            if (join := graph.ending.get(op.index)) is not None:
                role = replace(role, start=starts.get(join.stream, 1.0))
            chosen[name] = choose(role, method)
        return chosen[name].initializer

    signals: dict[int, Signal] = {}

    def seen(value: int, signal: Signal) -> None:
        signals[value] = signal
        for stream in streams.get(value, ()) if signal.second > 0 else ():
            starts.setdefault(stream, _rounded(signal.second))

    streams: dict[int, list[int]] = {}
    for join in graph.joins.values():
        streams.setdefault(join.start, []).append(join.stream)
    propagate(graph, fill, nominal=True, seen=seen)
    targets = _outputs(graph, signals)
    return {
        name: replace(chosen.get(name) or choose(role, method), target=targets.get(name))
        for name, role in roles.items()
    }


def _rounded(number: float) -> float:
    """Round to six digits: the last bits of a sum depend on the processor, and a plan must not."""
    return float(f"{number:.6g}")


def _beside(graph: Graph, op: Op, signals: dict[int, Signal]) -> Signal | None:
    """Return what a looked-up row or a learned token joins: the other side of the sum or row."""
    waiting = list(op.outputs)
    for _ in range(8):
        if not waiting:
            return None
        for reader in graph.consumers.get(value := waiting.pop(0), []):
            others = [v for v in reader.inputs if v != value and v in signals]
            if others and reader.name in JOINING:
                maker = graph.producers.get(graph.trunk(others[0]))
                scores = maker is not None and maker.kind == "other" and maker.name in PRODUCTS
                return None if scores else signals[others[0]]
            waiting += reader.outputs if reader.kind == "move" else []
    return None


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


def expected(graph: Graph, choices: dict[str, Choice]) -> dict[str, float]:
    """Return the root mean square expected of each layer's output, by the name of its weight.

    The moments and sizes are those of the example, as a check on the same batch measures them.
    """
    if graph.how == "structure":
        return {}

    signals = propagate(graph, lambda _op, use, _fed: choices[use.parameter].initializer)
    return _outputs(graph, signals)


def _outputs(graph: Graph, signals: dict[int, Signal]) -> dict[str, float]:
    """Return the root mean square of each layer's first output, by the name of its weight."""
    found: dict[str, float] = {}
    for op in graph.ops:
        weight = next((use.parameter for use in op.uses if "weight" in use.slot), None)
        if weight is not None and weight not in found and op.outputs[0] in signals:
            found[weight] = _rounded(signals[op.outputs[0]].rms)
    return found
