"""Chooses what one parameter gets, with the words and numbers that explain it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from isoinit._planning.rules.choice import Choice, left
from isoinit._planning.rules.keep import kept
from isoinit._planning.rules.methods import METHODS, by_method
from isoinit._planning.rules.sizes import two_way_gain
from isoinit._planning.rules.table import RULES, deciding
from isoinit._planning.rules.usual import reasons
from isoinit._reading.few_inputs import FEW
from isoinit._reading.roles import Role
from isoinit.errors import ArgumentError, did_you_mean
from isoinit.initializers import HeNormal, Initializer, Normal
from isoinit.initializers.base import WholeInitializer

SOURCES = {
    "input": "the model's input",
    "norm": "a norm layer's output",
    "residual": "a residual sum",
    "weight": "a layer's output",
}


def choose(role: Role, method: str = "auto") -> Choice:
    """Return what a parameter gets, by the rule book or by a method that was asked for.

    Args:
        role: what the parameter is for.
        method: "auto" for the rule book, or one of the eight methods, put on every weight matrix
            (variational: on those of linear and convolutional layers, which can hold a
            distribution); all other roles keep their rule.

    Raises:
        ArgumentError: for an unknown method.
    """
    if method not in METHODS:
        near = did_you_mean(method, METHODS)
        raise ArgumentError(f"method={method!r}: expected one of {', '.join(METHODS)}{near}")
    choice = _by_role(role, method)
    return kept(role, choice, asked=method != "auto" and by_method(method, role) is not None)


def _by_role(role: Role, method: str) -> Choice:
    """Return what the rule book or a method gives a parameter, whatever it holds."""
    if role.slot == "part":
        return Choice(None, "the model computes a weight from it, which decides its values", "")
    if role.slot == "returned":
        return Choice(None, "the model returns it, and its further use is not known", "")
    if role.slot == "unknown":
        return Choice(None, "no rule knows its role", "")
    if role.layout.kind == "kept":
        role = replace(role, chain=None)  # its rules need whole matrices, which are not stored
    rule = deciding(role)
    close = tuple(other.name for other in RULES if other is not rule and other.applies(role))
    initializer, name, source = rule.made(role), rule.name, rule.source
    reason = rule.reason.format(gain=_gain(rule.initializer(role)), **_facts(role))
    if rule.usual:
        words, sources = reasons(role, initializer)
        reason, source = reason + words, source + sources
    if (asked := by_method(method, role)) is not None:
        initializer, name = asked, ""
        reason, source = f"method={method!r} was asked for", "your choice"
    if role.layout.kind == "kept" and isinstance(initializer, WholeInitializer):
        initializer = HeNormal(gain=two_way_gain(role))
        reason += "; the kept elements of a sparse weight are drawn independently, scaled for each "
        reason += "unit's inputs"
    if role.measured and name != "measured on the example":
        reason += "; the size of its input was measured on the example"
    if role.norm:
        reason += " (a norm layer follows)"
    if role.chain and role.slot == "weight" and not (role.followed or role.chain.into):
        reason += "; its input is not known and is assumed to have unit size"
    if role.guess:
        reason += "; a guess from the layer's type, because no run of the model used it"
    choice = Choice(initializer, reason, source, name, close, tuple(_numbers(role)))
    if rule.grows and asked is None:
        choice = replace(choice, grown=Normal(std=1 / math.sqrt(role.layout.fan_in)))
    try:
        _ = initializer and initializer.std_for(role.layout)
    except ArgumentError as error:  # such as a weight stored as one long vector
        return left(choice, str(error))
    return choice


def _gain(initializer: Initializer | None) -> str:
    gain = getattr(initializer, "gain", None)
    return f"{gain:.4g}" if gain else "1"


def _numbers(role: Role) -> Iterator[tuple[str, float]]:
    """Yield the numbers that the formulas of the rules name, where the role has them."""
    if role.layout.is_map:
        yield from (("fan_in", role.layout.fan_in), ("fan_out", role.layout.fan_out))
    if role.slot in ("weight", "position", "token") and role.followed:
        yield "E[x²]", role.second
    if role.ends_branch:
        yield from (("N", role.branches), ("E[x₀²]", role.start))
    if role.chain is not None:
        yield "layers", role.chain.length
        if point := role.chain.into or role.chain.out:
            yield from (("σ_w²", point.weight), ("σ_b²", role.chain.bias), ("q", point.second))
    if role.motif is not None and role.motif.size != 1:
        yield role.motif.name, role.motif.size


def _few_words(role: Role) -> str:
    """Return what a layer of few inputs reads, with their moments if they are not standard."""
    count = len(role.few)
    known = {0: "a few numbers", 1: "one number", 2: "two numbers", 3: "three numbers"}
    words = known.get(count, f"{count} columns of the example")
    if set(role.few) <= {(0.0, 1.0)}:
        return words
    means, stds = (_listed(column, count) for column in zip(*role.few, strict=True))
    return f"{words} (mean {means}, standard deviation {stds})"


def _listed(column: Sequence[float], count: int) -> str:
    """Return numbers one by one, or the least and the largest of many."""
    if count <= FEW:
        return ", ".join(f"{x:g}" for x in column)
    ends = dict.fromkeys((f"{min(column):g}", f"{max(column):g}"))
    return " to ".join(ends)


def _sources(kinds: str) -> str:
    """Return the kinds of a weight's sources in words: `pointwise.Source.kind` has what they mean."""
    words = [SOURCES.get(kind, kind) for kind in kinds.split(", ")]
    return " and ".join(filter(None, words)) or "the signal before it"


def _facts(role: Role) -> dict[str, str]:
    """Return the words that fill the braces of a rule's reason; `page` has them for any role."""
    return {
        "activation": role.activation.name if role.activation else "",
        "fed": role.fed.name if role.fed else "",
        "source": _sources(role.source),
        "inputs": _few_words(role),
        "second": f"{role.second:.3g}",
        "joined": f"{role.joined:.3g}",
        "lost": f" ({role.lost})" if role.lost else "",
        "length": str(role.chain.length) if role.chain else "",
        "bias": f"{role.chain.bias:.3g}" if role.chain else "",
    }
