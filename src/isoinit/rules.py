"""The rule book: which initializer each role gets, why, and who found it out.

An ordered table, one row a rule; the first row that applies decides. To add a rule, add a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from isoinit.errors import ArgumentError
from isoinit.flow import Activation
from isoinit.initializers import (
    Constant,
    GateBias,
    HeNormal,
    Initializer,
    LeCunNormal,
    Normal,
    Ones,
    Orthogonal,
    Sparse,
    Variational,
    XavierNormal,
    Zeros,
)
from isoinit.roles import Role

SATURATING = ("tanh", "sigmoid", "softsign", "erf", "hardtanh", "hardsigmoid")


@dataclass(frozen=True)
class Rule:
    """One row of the rule book.

    Attributes:
        name: a short handle.
        applies: whether the rule is for a role.
        initializer: what the role gets; None leaves it as it was.
        reason: why, in words; `{activation}` and `{gain}` are filled in.
        source: the paper or practice that it comes from.
    """

    name: str
    applies: Callable[[Role], bool]
    initializer: Callable[[Role], Initializer | None]
    reason: str
    source: str


@dataclass(frozen=True)
class Choice:
    """What the rule book decided for one parameter; no initializer means "leave it as it was"."""

    initializer: Initializer | None
    reason: str
    source: str


def _slot(*slots: str) -> Callable[[Role], bool]:
    return lambda role: role.slot in slots


def _before(*names: str) -> Callable[[Role], bool]:
    return lambda role: (
        role.slot == "weight" and role.activation is not None and role.activation.name in names
    )


def _recurrent_relu(role: Role) -> bool:
    return role.slot == "input weight" and role.op.startswith("rnn_relu")


def he_for(activation: Activation) -> Initializer:
    """He's initializer with the gain of an activation."""
    if activation.name == "leaky_relu":
        return HeNormal(a=activation.slope)
    if activation.name == "relu":
        return HeNormal()
    return HeNormal(gain=activation.gain)


def _he(role: Role) -> Initializer:
    return he_for(role.activation) if role.activation else HeNormal()


def _neutral(role: Role) -> Initializer:
    """The constant at which a bias adds nothing or a scale changes nothing."""
    value = role.neutral or 0.0
    return {0.0: Zeros(), 1.0: Ones()}.get(value, Constant(value))


def _ends_branch_as_scale(role: Role) -> bool:
    return role.slot == "scale" and role.ends_branch and not role.through


def _acts_through_a_function(role: Role) -> bool:
    return bool(role.through) and role.neutral is None and role.slot in ("scale", "bias", "shift")


RULES: tuple[Rule, ...] = (
    Rule(
        "recurrent",
        _slot("recurrent weight"),
        lambda _: Orthogonal(),
        "applied at every time step, so it must neither stretch nor shrink the state",
        "Saxe et al. 2014; Le et al. 2015",
    ),
    Rule(
        "recurrent input, ReLU",
        _recurrent_relu,
        lambda _: HeNormal(),
        "feeds ReLU units, which halve the second moment",
        "He et al. 2015, eq. 10",
    ),
    Rule(
        "recurrent input",
        _slot("input weight"),
        lambda _: XavierNormal(),
        "feeds sigmoid and tanh units; the fans are those of one gate",
        "Glorot & Bengio 2010, eq. 12",
    ),
    Rule(
        "forget gate",
        lambda role: role.slot == "input bias" and role.op.startswith("lstm"),
        lambda _: GateBias(),
        "the forget gate starts open (bias one in one of its two vectors), so memory lasts",
        "Gers et al. 2000; Jozefowicz et al. 2015",
    ),
    Rule(
        "tied embedding",
        lambda role: role.slot == "table" and bool(role.tied),
        lambda role: Normal(std=1 / math.sqrt(role.layout.fan_out)),
        "also the output layer: 1/sqrt(width) gives logits of unit size",
        "Vaswani et al. 2017, section 3.4",
    ),
    Rule(
        "embedding",
        _slot("table"),
        lambda role: Normal(std=1 / math.sqrt(role.layout.fan_in)),
        "a row is looked up and not summed, so unit variance gives a signal of unit size",
        "fan-in of a lookup; torch.nn.Embedding",
    ),
    Rule(
        "position or token",
        _slot("position", "token"),
        lambda _: Normal(std=0.02),
        "a learned vector that joins the signal: small at first",
        "Devlin et al. 2019; Dosovitskiy et al. 2021",
    ),
    Rule(
        "ReZero",
        lambda role: _ends_branch_as_scale(role) and math.prod(role.layout.shape) == 1,
        lambda _: Zeros(),
        "a single number at the end of a residual branch: the block starts as the identity",
        "De & Smith 2020; Bachlechner et al. 2021",
    ),
    Rule(
        "LayerScale",
        lambda role: _ends_branch_as_scale(role) and role.op == "mul",
        lambda _: Constant(0.1),
        "a scale at the end of a residual branch: the block starts near the identity",
        "Touvron et al. 2021, section 2",
    ),
    Rule(
        "through a function",
        _acts_through_a_function,
        lambda _: None,
        "it acts through a function of itself, such as exp(w), so what it should start from is the "
        "model's own choice",
        "",
    ),
    Rule(
        "length",
        _slot("length"),
        lambda _: None,
        "the length of a normalized weight's rows, which decides the size of the weight",
        "Salimans & Kingma 2016, section 2",
    ),
    Rule(
        "scale",
        _slot("scale"),
        lambda role: Ones() if role.neutral is None else _neutral(role),
        "a scale starts without effect",
        "Ioffe & Szegedy 2015; Ba et al. 2016",
    ),
    Rule(
        "slope",
        _slot("slope"),
        lambda _: Constant(0.25),
        "the slope that PReLU was published with",
        "He et al. 2015, section 2.1",
    ),
    Rule(
        "bias",
        _slot("bias", "shift", "input bias", "recurrent bias"),
        _neutral,
        "adds nothing at first; the weights already differ, so no symmetry is left to break",
        "Glorot & Bengio 2010, section 2.3; He et al. 2015, section 2.2",
    ),
    Rule(
        "residual branch",
        lambda role: role.slot == "weight" and role.ends_branch and role.activation is None,
        lambda role: XavierNormal(gain=1 / math.sqrt(role.branches)),
        "writes to a residual stream: with N branches, 1/sqrt(N) keeps the sum's variance bounded",
        "Radford et al. 2019, section 2.3",
    ),
    Rule(
        "SELU",
        _before("selu"),
        lambda _: LeCunNormal(),
        "SELU pulls mean and variance to 0 and 1 by itself if weights have variance 1/fan_in",
        "Klambauer et al. 2017, section 2",
    ),
    Rule(
        "saturating",
        _before(*SATURATING),
        lambda _: XavierNormal(),
        "{activation} is linear around 0: a compromise between forward and backward signal",
        "Glorot & Bengio 2010, eq. 12",
    ),
    Rule(
        "ReLU",
        _before("relu", "leaky_relu"),
        _he,
        "{activation} takes part of the second moment; gain {gain} restores it",
        "He et al. 2015, eq. 10 and 15",
    ),
    Rule(
        "any activation",
        lambda role: role.slot == "weight" and role.activation is not None,
        _he,
        "{activation} was measured: gain {gain} keeps its second moment at one",
        "He et al. 2015, eq. 10, with the exact E[φ(z)²]",
    ),
    Rule(
        "linear",
        _slot("weight"),
        lambda _: XavierNormal(),
        "no activation follows: a compromise between forward and backward signal",
        "Glorot & Bengio 2010, eq. 12",
    ),
)

METHODS = ["auto", "zero", "random", "xavier", "he", "lecun", "orthogonal", "sparse", "variational"]


def _gain(role: Role) -> float:
    """The gain that a method's weight needs: 1 where nothing follows, or what is linear around 0.

    The forward gain of tanh, 1.59, would make gradients grow by 1.18 a layer in variance.
    """
    if role.activation is None or role.activation.name in SATURATING:
        return 1.0
    return role.activation.gain


def _orthogonal(role: Role) -> Initializer:
    """With more outputs than inputs the length is kept, so the variance a unit is restored."""
    _, n_out, n_in, taps = role.layout.maps_shape
    return Orthogonal(gain=_gain(role) * math.sqrt(max(1.0, n_out / max(n_in * taps, 1))))


def _sparse(role: Role) -> Initializer:
    """One connection in ten, but ten a unit at least: fewer leave inputs that no unit hears."""
    if role.layout.fan_in < 100:
        return Sparse(connections=10, gain=_gain(role))
    return Sparse(gain=_gain(role))


def _variational(role: Role) -> Initializer:
    base, _ = _first(role)
    assert base is not None, "the rule book has something for every weight"
    return Variational(base=base)


# What `method=` puts on every weight matrix; other roles keep their rule.
_BY_METHOD: dict[str, Callable[[Role], Initializer]] = {
    "zero": lambda _: Zeros(),
    "random": lambda _: Normal(std=0.02),
    "xavier": lambda _: XavierNormal(),
    "he": _he,
    "lecun": lambda _: LeCunNormal(),
    "orthogonal": _orthogonal,
    "sparse": _sparse,
    "variational": _variational,
}
_WEIGHTS = ("weight", "input weight", "recurrent weight")


def choose(role: Role, method: str = "auto") -> Choice:
    """What a parameter gets, by the rule book or by a method that was asked for.

    Args:
        role: what the parameter is for.
        method: "auto" for the rule book, or one of the eight methods, put on every weight matrix
            (variational: on those of linear and convolutional layers, which can hold a
            distribution); all other roles keep their rule.

    Raises:
        ArgumentError: for an unknown method.
    """
    if method not in METHODS:
        raise ArgumentError(f"method={method!r}: expected one of {', '.join(METHODS)}")
    if role.slot == "unknown":
        return Choice(None, "no rule knows what it is for", "")
    initializer, rule = _first(role)
    gain = getattr(initializer, "gain", None)
    activation = role.activation.name if role.activation else ""
    reason = rule.reason.format(activation=activation, gain=f"{gain:.4g}" if gain else "")
    source = rule.source
    eligible = role.slot == "weight" if method == "variational" else role.slot in _WEIGHTS
    if method != "auto" and eligible:
        initializer = _BY_METHOD[method](role)
        reason, source = f"method={method!r} was asked for", "your choice"
    if role.norm:
        reason += " (behind a norm layer)"
    if role.guess:
        reason += "; a guess from the layer's type, since no run of the model used it"
    return Choice(initializer, reason, source)


def _first(role: Role) -> tuple[Initializer | None, Rule]:
    rule = next(rule for rule in RULES if rule.applies(role))
    return rule.initializer(role), rule
