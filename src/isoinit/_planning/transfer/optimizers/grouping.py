"""Which parameters of a plan share a group of the optimizer, and what the group is called.

It follows from the plan alone: a rank that holds a part of the model, and a model some parameters of
which are frozen, have groups of the same names. A checkpoint of the optimizer can be told by them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from isoinit._writing.entry import Entry
from isoinit._writing.factors import Factors

DIGITS = 9  # of factors: products of the same numbers in another order are equal to within these
MESH = re.compile(r" \(mesh \d+\)$")
MOST = 3  # kinds of parameters in a name
WITHOUT_EPS = ("sgd",)


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate, a weight decay and an ε.

    Attributes:
        name: which they are: "hidden weights", "vectors lr ×0.5".
        optimizer: what trains them.
        lr, decay, eps: what the base's are multiplied by; 0 for parameters that do not decay, and
            None where the optimizer has no ε.
        members, shapes: the names and the shapes of the parameters.
    """

    name: str
    optimizer: str
    lr: float
    decay: float
    eps: float | None
    members: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]


def grouped(entries: Iterable[Entry], *, decay_vectors: bool) -> dict[str, Group]:
    """Return the groups of a plan's parameters by name, in the order of their first ones.

    Args:
        entries: the plan's; those without factors are left out.
        decay_vectors: whether weight decay acts on vectors too.
    """
    found: dict[tuple[object, ...], list[tuple[Entry, Factors]]] = {}
    for entry in entries:
        if (factors := entry.factors) is not None:
            decay = factors.decay if factors.decays or decay_vectors else 0.0
            eps = None if factors.optimizer in WITHOUT_EPS else factors.eps
            numbers = (factors.lr, decay, eps)
            key = (factors.optimizer, *(n and float(f"{n:.{DIGITS}g}") for n in numbers))
            found.setdefault(key, []).append((entry, factors))
    kinds = [tuple(dict.fromkeys(f.kind for _, f in members)) for members in found.values()]
    groups = [_group(members, decay_vectors) for members in found.values()]
    named = {}
    for own, group in zip(kinds, groups, strict=True):
        namesakes = [g for other, g in zip(kinds, groups, strict=True) if other == own]
        name = f"{group.name}{_suffix(group, namesakes)}"
        named[name] = replace(group, name=name)
    return named


def on_mesh(name: str, mesh: int) -> str:
    """Return what a group is called whose parameters are sharded on the nth mesh of a model."""
    return f"{name} (mesh {mesh + 1})" if mesh else name


def without_mesh(name: object) -> str | None:
    """Return a group's name without its mesh; None for what is no name."""
    return MESH.sub("", name) if isinstance(name, str) else None


def _group(members: Sequence[tuple[Entry, Factors]], decay_vectors: bool) -> Group:
    first = members[0][1]
    return Group(
        _called([factors.kind for _, factors in members]),
        first.optimizer,
        first.lr,
        first.decay if first.decays or decay_vectors else 0.0,
        None if first.optimizer in WITHOUT_EPS else first.eps,
        tuple(entry.name for entry, _ in members),
        tuple(entry.shape for entry, _ in members),
    )


def _called(kinds: Sequence[str]) -> str:
    """Return what parameters of some kinds are called together: "input weights, vectors"."""
    counts = Counter(kinds)
    names = [_plural(kind) if count > 1 else kind for kind, count in counts.items()]
    more = [f"{len(names) - MOST} more kinds"] if len(names) > MOST + 1 else []
    return ", ".join(names[:MOST] + more if more else names)


def _plural(kind: str) -> str:
    if kind.endswith(("s", "x", "ch")):
        return f"{kind}es"
    return f"{kind[:-1]}ies" if kind.endswith("y") and kind[-2:-1] not in "aeiou" else f"{kind}s"


def _suffix(group: Group, namesakes: Sequence[Group]) -> str:
    """Return what tells a group from others of the same kinds: the first factors that do."""
    several = len({other.optimizer for other in namesakes}) > 1
    differ = [n for n in ("lr", "decay", "eps") if len({getattr(g, n) for g in namesakes}) > 1]

    def suffix(of: Group, count: int, digits: int) -> str:
        said = [f" {name} ×{getattr(of, name) or 0:.{digits}g}" for name in differ[:count]]
        return "".join([f" {of.optimizer}", *said] if several else said)

    for digits in (3, DIGITS):
        for count in range(len(differ) + 1):
            if len({suffix(other, count, digits) for other in namesakes}) == len(namesakes):
                return suffix(group, count, digits)
    return suffix(group, len(differ), DIGITS)
