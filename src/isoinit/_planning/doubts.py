"""Where no choice keeps signal and gradient alive, or none fits: the warnings of a plan."""

from __future__ import annotations

from isoinit._planning.rules import before_sine
from isoinit._reading.graph import Graph, Use
from isoinit._reading.plain_stacks import Chain
from isoinit._reading.queries import packed
from isoinit._reading.roles import Role
from isoinit._showing.findings import listed

TRAINED = "the model looks trained"  # how the warning begins that its weights will be drawn anew


def doubts(roles: dict[str, Role]) -> tuple[str, ...]:
    """Return where no choice can keep signal and gradient alive: why, and what would."""
    found: dict[Chain, list[str]] = {}
    for role in roles.values():
        if role.slot != "weight" or role.chain is None or before_sine(role):
            continue  # fast sines have weights of their own
        if role.chain.hopeless:
            found.setdefault(role.chain, []).append(role.parameter)
    return tuple(_doubt(chain, names) for chain, names in found.items())


def two_needs(graph: Graph) -> tuple[str, ...]:
    """Return which parameters get one initial value where two are needed."""
    return unlike_parts(graph) + large_scores(graph)


def unlike_parts(graph: Graph) -> tuple[str, ...]:
    """Return which parameters hold parts that need different initial values: they get one."""
    found = []
    for name in graph.shapes:
        uses = [use for _, use in graph.uses_of(name) if use.part and use.slot != "other"]
        needs = dict.fromkeys(_need(use) for use in uses)
        if len(needs) > 1:
            found.append(
                f"{name!r} holds parts that need different initial values ({listed([*needs])}), and "
                "the whole parameter is filled for the first part: make each part its own parameter, "
                "or fill the other parts after Plan.apply"
            )
    return tuple(found)


def large_scores(graph: Graph) -> tuple[str, ...]:
    """Return which layers make large attention scores, and values, which need their size."""
    return tuple(
        f"{name!r} makes queries, keys and values of an attention that does not divide its scores "
        f"by √width: they start with a variance of {size:.3g}, which saturates the softmax; divide "
        "them, or make the values by a layer of their own"
        for name, size in dict(packed(graph)).items()
    )


def _need(use: Use) -> str:
    """Return what tells the initial values that a use needs from those of others."""
    if use.whole.is_map:
        return f"a {use.slot} of {use.whole.fan_in:g} inputs"
    if use.neutral is None:
        return f"a {use.slot}"
    return f"a {use.slot} that starts at {use.neutral:g}"


def _doubt(chain: Chain, names: list[str]) -> str:
    """Return the warning about the weights of one deep plain chain."""
    where = (
        f"{chain.length} layers in a row have only {chain.hopeless} between them ({names[0]!r} to "
        f"{names[-1]!r})"
    )
    safe = "a norm layer every few layers or residual branches"
    if chain.unknown:
        return (
            f"{where}, which isoinit cannot follow: it is not known whether they keep signal and "
            f"gradient; measure it with isoinit.check, or add {safe}"
        )
    biases = "biases in these layers, " if chain.unbiased else ""
    return (
        f"{where}: no known weights keep the signal, its gradient and the differences between "
        f"examples through them; add {biases}{safe}, or use another activation"
    )
