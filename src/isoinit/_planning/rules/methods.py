"""What `method="he"` and the like put on each weight."""

from __future__ import annotations

from collections.abc import Callable

from isoinit._planning.rules.sizes import forward_gain, he_for, orthogonal, two_way_gain
from isoinit._planning.rules.table import deciding
from isoinit._reading.roles import Role
from isoinit.initializers import (
    HeNormal,
    Initializer,
    LeCunNormal,
    Normal,
    Sparse,
    Variational,
    XavierNormal,
    Zeros,
)


def _he(role: Role) -> Initializer:
    return he_for(role.fed) if role.fed else HeNormal(gain=forward_gain(role))


def _sparse(role: Role) -> Initializer:
    """Return one connection in ten, but at least ten a unit: fewer leave inputs without a reader."""
    if role.layout.fan_in < 100:
        return Sparse(connections=10, gain=two_way_gain(role))
    return Sparse(gain=two_way_gain(role))


def _variational(role: Role) -> Initializer | None:
    """Return a distribution about what the rule book draws; None where that is fixed, as zeros are."""
    base = deciding(role).made(role)
    return None if base is None or base.is_fixed else Variational(base=base)


_METHODS: dict[str, Callable[[Role], Initializer | None]] = {
    "zero": lambda _: Zeros(),
    "random": lambda _: Normal(std=0.02),
    "xavier": lambda _: XavierNormal(),
    "he": _he,
    "lecun": lambda _: LeCunNormal(),
    "orthogonal": lambda role: orthogonal(role, two_way_gain(role)),
    "sparse": _sparse,
    "variational": _variational,
}
METHODS = ("auto", *_METHODS)


def by_method(method: str, role: Role) -> Initializer | None:
    """Return what a method puts on a parameter; None where the rule book decides.

    A method is for weight matrices, and `variational` for those of linear and convolutional layers,
    which can hold a distribution.
    """
    recurrent = () if method == "variational" else ("input weight", "recurrent weight")
    if method == "auto" or role.slot not in ("weight", *recurrent):
        return None
    return _METHODS[method](role)
