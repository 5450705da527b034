"""Chooses for every parameter in the order of execution, with the signal that the choices make.

A weight's input depends on what the weights before it were given, so choosing and propagating
alternate: each layer is chosen for the second moment that reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from isoinit._planning.propagation import Moments, Signal, Walk, propagate, walking
from isoinit._planning.rules import Choice, choose
from isoinit._reading.graph import PRODUCTS, Graph, Op, Use
from isoinit._reading.roles import Role
from isoinit.initializers import Initializer

# A bias of attention scores, or what joins nothing that is known: 0.02² (Liu et al. 2021).
SMALL = 4e-4
JOINING = ("add", "cat", "concat", "stack", "where")


def choose_all(
    graph: Graph, roles: dict[str, Role], method: str = "auto", moments: Moments | None = None
) -> dict[str, Choice]:
    """Return what every parameter gets, in the order of `roles`.

    The signal is the nominal one (`propagation.propagate`): a plan depends on the model, and not on
    the numbers in the example, its length, or how many examples there are. Only where the signal
    cannot be worked out do moments that were measured on the example take its place.

    Raises:
        ArgumentError: for an unknown method.
    """
    moments = Moments() if moments is None else moments
    return moments.answer(choosing(graph, roles, method))


def choosing(
    graph: Graph,
    roles: dict[str, Role],
    method: str = "auto",
    tell: Callable[[str, Choice], None] = lambda _name, _choice: None,
) -> Walk[dict[str, Choice]]:
    """Choose as `choose_all` does, asking for what is needed and not known.

    Args:
        graph: what the model does.
        roles: what each parameter is for.
        method: as for `choose`.
        tell: called with each choice, as soon as it is made.
    """
    chosen: dict[str, Choice] = {}
    starts: dict[int, float] = {}

    def fill(op: Op, use: Use, fed: Signal | None) -> Initializer | None:
        name = use.parameter
        if name not in chosen and _first_on_constant(graph, op, name):
            return None
        if name not in chosen:
            role = roles[name]
            near = fed if op.inputs and op.kind != "lookup" else _beside(graph, op, signals)
            beside = role.slot in ("position", "token")
            if near is None and beside:
                role = replace(role, second=SMALL)
            elif near is None and role.slot == "weight":
                role = replace(role, followed=False)
            elif near is not None and (role.slot == "weight" or (beside and near.second > 0)):
                role = replace(role, second=_rounded(near.second), measured=near.measured)
            if (join := graph.ending.get(op.index)) is not None:
                role = replace(role, start=starts.get(join.stream, 1.0))
            chosen[name] = choose(role, method)
            tell(name, chosen[name])
        return chosen[name].initializer

    signals: dict[int, Signal] = {}

    def seen(value: int, signal: Signal) -> None:
        signals[value] = signal
        for stream in streams.get(value, ()) if signal.second > 0 else ():
            starts.setdefault(stream, _rounded(signal.second))

    streams: dict[int, list[int]] = {}
    for join in graph.joins.values():
        streams.setdefault(join.start, []).append(join.stream)
    yield from walking(graph, fill, nominal=True, seen=seen)
    targets = _outputs(graph, signals)
    return {
        name: replace(chosen.get(name) or choose(role, method), target=targets.get(name))
        for name, role in roles.items()
    }


def _first_on_constant(graph: Graph, op: Op, name: str) -> bool:
    """Return whether a weight is applied to a constant here, and to a signal later.

    So is one of a loop over time, whose state starts as zeros.
    """
    if op.kind != "map" or op.inputs:
        return False
    return any(later.kind == "map" and later.inputs for later, _ in graph.uses_of(name))


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
    found: dict[str, list[Role]] = {}
    for role in roles.values():
        if role.slot == "weight" and role.chain is not None and role.chain.hopeless:
            found.setdefault(role.chain.hopeless, []).append(role)
    return tuple(
        f"{len(alike)} layers in a row are joined by {name} alone (the first is "
        f"{alike[0].parameter!r}): no scale of the weights keeps both the signal and its gradient "
        "alive through them, since the function has no stable critical point and its odd part is not "
        "linear enough; a norm layer every few layers, residual branches, or another activation "
        "would"
        for name, alike in found.items()
    )


def expected(
    graph: Graph, choices: dict[str, Choice], moments: Moments | None = None
) -> dict[str, float]:
    """Return the root mean square expected of each layer's output, by the name of its weight.

    The moments and sizes are those of the example, as a check on the same batch measures them.
    """
    if graph.how == "structure":
        return {}

    def fill(_op: Op, use: Use, _fed: Signal | None) -> Initializer | None:
        return choices[use.parameter].initializer

    return _outputs(graph, propagate(graph, fill, moments=moments))


def _outputs(graph: Graph, signals: dict[int, Signal]) -> dict[str, float]:
    """Return the root mean square of each layer's first output, by the name of its weight."""
    found: dict[str, float] = {}
    for op in graph.ops:
        weight = next((use.parameter for use in op.uses if "weight" in use.slot), None)
        if weight is not None and weight not in found and op.outputs[0] in signals:
            found[weight] = _rounded(signals[op.outputs[0]].rms)
    return found
