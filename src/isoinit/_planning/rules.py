"""The rule book: which initializer each role gets, why, and who found it out.

An ordered table, one row a rule; the first row that applies decides. To add a rule, add a row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from isoinit._reading.pointwise import Activation
from isoinit._reading.roles import Role
from isoinit.errors import ArgumentError
from isoinit.initializers import (
    ICNR,
    Constant,
    DecayRates,
    DeltaOrthogonal,
    GateBias,
    HeNormal,
    HeUniform,
    Identity,
    Initializer,
    LeCunNormal,
    LooksLinear,
    Normal,
    Ones,
    Orthogonal,
    Sparse,
    TimeSteps,
    Uniform,
    Variational,
    XavierNormal,
    Zeros,
)
from isoinit.initializers.base import WholeInitializer

SATURATING = ("tanh", "sigmoid", "softsign", "erf", "hardtanh", "hardsigmoid")


@dataclass(frozen=True)
class Rule:
    """One row of the rule book.

    Attributes:
        name: a short handle.
        applies: whether the rule is for a role.
        initializer: what the role gets; None leaves it as it was.
        when: which roles those are, in words.
        formula: what they get, as a formula.
        reason: why, in words; what stands in braces is filled in from the role.
        source: the paper or practice that it comes from.
    """

    name: str
    applies: Callable[[Role], bool]
    initializer: Callable[[Role], Initializer | None]
    when: str
    formula: str
    reason: str
    source: str


@dataclass(frozen=True)
class Choice:
    """What was decided for one parameter.

    Attributes:
        initializer: what it gets; None leaves it as it was.
        reason, source: why, and who found it out.
        rule: the name of the rule that decided; "" where none did.
        close: the names of the rules that would have decided, had the one before them not.
        numbers: what stands in the rule's formula for this parameter.
        target: for a layer's weight, the root mean square that its output is meant to have.
    """

    initializer: Initializer | None
    reason: str
    source: str
    rule: str = ""
    close: tuple[str, ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    target: float | None = None


def _motif(name: str) -> Callable[[Role], bool]:
    return lambda role: role.motif is not None and role.motif.name == name


def _layer_scale(branches: int) -> float:
    """By the number of blocks, of two branches each."""
    blocks = branches / 2
    return 0.1 if blocks <= 18 else 1e-5 if blocks <= 24 else 1e-6


def _sine(role: Role) -> float:
    """ω₀ of a following sin(ω₀ z); 0 where something else follows, or a sine of slow phases."""
    if role.slot != "weight" or role.activation is None or "sin" not in role.activation.name:
        return 0.0
    function, step = role.activation.function, 1e-6
    low, high = function(np.array([-step, step]))
    frequency = float(high - low) / (2 * step)
    z = np.linspace(-1.0, 1.0, 41)
    same = frequency >= 2 and np.allclose(function(z), np.sin(frequency * z), atol=1e-4)
    return frequency if same else 0.0


def _sine_bounds(role: Role) -> tuple[float, float]:
    bound = math.sqrt(6 / role.layout.fan_in) / round(_sine(role), 6)
    return -bound, bound


def _slot(*slots: str) -> Callable[[Role], bool]:
    return lambda role: role.slot in slots


def _before(*names: str) -> Callable[[Role], bool]:
    return lambda role: (
        role.slot == "weight" and role.activation is not None and role.activation.name in names
    )


def _after(*names: str) -> Callable[[Role], bool]:
    return lambda role: role.slot == "weight" and role.fed is not None and role.fed.name in names


def _gain(role: Role) -> float:
    """What undoes the second moment of what feeds a weight: E[x²]^(-1/2).

    Where that is one function of a unit signal, its exact gain; worked out from samples, the second
    moment itself is within a percent or so.
    """
    measured = 1 / math.sqrt(role.second) if role.second > 0 else 1.0
    exact = role.fed.gain if role.fed else 1.0
    if not role.followed:
        return exact
    return exact if abs(measured / exact - 1) < 0.02 else measured


def _kept(role: Role, gain: float) -> Initializer:
    """Var(w) = gain²/fan_in, by the name that the field has for it."""
    if gain == 1.0:
        return LeCunNormal()
    if role.fed and role.fed.name in ("relu", "leaky_relu") and gain == role.fed.gain:
        return he_for(role.fed)
    return HeNormal(gain=gain)


def _orthogonal_for(role: Role, gain: float) -> Initializer:
    """An orthogonal matrix that keeps the variance a unit; of a convolution, at the centre tap."""
    stack, n_out, n_in, taps = role.layout.maps_shape
    if role.layout.kind == "conv" and n_out >= n_in and stack == 1:
        return DeltaOrthogonal(gain=gain * math.sqrt(n_out / n_in))
    return Orthogonal(gain=gain * math.sqrt(max(1.0, n_out / max(n_in * taps, 1))))


def _looks_linear(role: Role) -> Initializer:
    assert role.chain is not None
    gain = role.chain.odd_gain if role.chain.mirror in ("in", "both") else _gain(role)
    return LooksLinear(gain=gain, mirror=role.chain.mirror)


def _mirrored(role: Role) -> bool:
    """Whether a layer's units are mirrored, and its kernel has a centre tap to put them at."""
    if role.slot != "weight" or role.chain is None or not role.chain.mirror:
        return False
    return role.layout.kind in ("linear", "conv")


def _critical(role: Role) -> Initializer:
    """The signal starts at the critical size, and layers behind the first keep it there."""
    point = role.chain.point if role.chain else None
    assert point is not None, "the rule asks for one"
    return _orthogonal_for(role, math.sqrt((point.second - point.bias) / role.second))


def _recurrent_relu(role: Role) -> bool:
    return role.slot == "input weight" and role.op.startswith("rnn_relu")


def he_for(activation: Activation) -> Initializer:
    """He's initializer with the gain of an activation."""
    if activation.name == "leaky_relu":
        return HeNormal(a=activation.slope)
    if activation.name == "relu":
        return HeNormal()
    return HeNormal(gain=activation.gain)


def _branch_end(role: Role) -> Initializer:
    """All branches together add what the stream starts with: a share of 1/N each."""
    return HeNormal(gain=_gain(role) * math.sqrt(role.start / role.branches))


def _neutral(role: Role) -> Initializer:
    """The constant at which a bias adds nothing or a scale changes nothing."""
    value = role.neutral or 0.0
    return {0.0: Zeros(), 1.0: Ones()}.get(value, Constant(value))


def _biased(role: Role) -> bool:
    chain = role.chain
    return chain is not None and chain.point is not None and chain.point.bias > 0


def _ends_branch_as_scale(role: Role) -> bool:
    return role.slot == "scale" and role.ends_branch and not role.through


def _acts_through_a_function(role: Role) -> bool:
    return bool(role.through) and role.neutral is None and role.slot in ("scale", "bias", "shift")


RULES: tuple[Rule, ...] = (
    Rule(
        "IRNN",
        lambda role: role.slot == "recurrent weight" and role.op.startswith("rnn_relu"),
        lambda _: Identity(),
        "a recurrent weight under ReLU",
        "W = I",
        "under ReLU the identity keeps the state as it is until there is something to learn",
        "Le et al. 2015",
    ),
    Rule(
        "recurrent",
        _slot("recurrent weight"),
        lambda _: Orthogonal(),
        "any other recurrent weight, gate by gate",
        "W Haar",
        "applied at every time step, so it must neither stretch nor shrink the state",
        "Saxe et al. 2014; Le et al. 2015",
    ),
    Rule(
        "recurrent input, ReLU",
        _recurrent_relu,
        lambda _: HeNormal(),
        "the input weight of a recurrent layer under ReLU",
        "Var = 2/fan_in",
        "feeds ReLU units, which halve the second moment",
        "He et al. 2015, eq. 10",
    ),
    Rule(
        "recurrent input",
        _slot("input weight"),
        lambda _: LeCunNormal(),
        "any other input weight of a recurrent layer",
        "Var = 1/fan_in",
        "sigmoid and tanh units see the input at its own size, however narrow it is beside the state",
        "LeCun et al. 1998, section 4.6",
    ),
    Rule(
        "forget gate",
        lambda role: role.slot == "input bias" and role.op.startswith("lstm"),
        lambda _: GateBias(),
        "the first of an LSTM's two bias vectors",
        "b_forget = 1",
        "the forget gate starts open (bias one in one of its two vectors), so memory lasts",
        "Gers et al. 2000; Jozefowicz et al. 2015",
    ),
    Rule(
        "tied embedding",
        lambda role: role.slot == "table" and bool(role.tied),
        lambda role: Normal(std=1 / math.sqrt(role.layout.fan_out)),
        "an embedding that is also the output layer",
        "Var = 1/width",
        "also the output layer: 1/sqrt(width) gives logits of unit size",
        "Vaswani et al. 2017, section 3.4",
    ),
    Rule(
        "embedding",
        _slot("table"),
        lambda role: Normal(std=1 / math.sqrt(role.layout.fan_in)),
        "any other lookup table",
        "Var = 1/rows that are added up",
        "a row is looked up and not summed, so unit variance gives a signal of unit size",
        "fan-in of a lookup; torch.nn.Embedding",
    ),
    Rule(
        "position or token",
        _slot("position", "token"),
        lambda role: Normal(std=math.sqrt(role.second)),
        "a learned position, class token or mask token",
        "Var = E[x²] of what it joins; 0.02² for a bias of attention scores",
        "a learned vector that joins the signal, as large as what it joins ({second} in variance), so "
        "that neither drowns the other; a bias of attention scores starts at 0.02",
        "Vaswani et al. 2017, section 3.5; Liu et al. 2021",
    ),
    Rule(
        "ReZero",
        lambda role: _ends_branch_as_scale(role) and math.prod(role.layout.shape) == 1,
        lambda _: Zeros(),
        "a single number that a residual branch ends with",
        "α = 0",
        "a single number at the end of a residual branch: the block starts as the identity",
        "De & Smith 2020; Bachlechner et al. 2021",
    ),
    Rule(
        "LayerScale",
        lambda role: _ends_branch_as_scale(role) and role.op == "mul" and not role.of_norm,
        lambda role: Constant(_layer_scale(role.branches)),
        "a vector that a residual branch ends with",
        "λ = 0.1 up to 18 blocks, 1e-5 up to 24, 1e-6 beyond",
        "a scale at the end of a residual branch: the block starts near the identity",
        "Touvron et al. 2021, section 2",
    ),
    Rule(
        "zero last norm",
        lambda role: _ends_branch_as_scale(role) and role.of_norm,
        lambda _: Zeros(),
        "the scale of the norm layer that a residual branch ends with",
        "γ = 0",
        "the norm layer that ends a residual branch: at zero the block starts as the identity, and "
        "the network as a shallow one",
        "Goyal et al. 2017, section 5.1",
    ),
    Rule(
        "state decay",
        _motif("state decay"),
        lambda _: DecayRates(),
        "the logarithms of a state space's rates of decay",
        "log(1), log(2), …, log(states)",
        "each channel gets states that forget at rates of 1 to N",
        "Gu & Dao 2023, section 3.6",
    ),
    Rule(
        "time step bias",
        _motif("time step bias"),
        lambda _: TimeSteps(),
        "the bias of a state space's time step, which a softplus follows",
        "softplus⁻¹(dt), log dt uniform between log 0.001 and log 0.1",
        "time steps between 0.001 and 0.1: memories of ten to a thousand steps",
        "Gu & Dao 2023, section 3.6",
    ),
    Rule(
        "time step",
        _motif("time step"),
        lambda role: Uniform(-(role.layout.fan_in**-0.5), role.layout.fan_in**-0.5),
        "the weight of a state space's time step",
        "U(±1/√rank)",
        "varies the time steps about their bias",
        "Gu & Dao 2023, section 3.6 and its code",
    ),
    Rule(
        "through a function",
        _acts_through_a_function,
        lambda _: None,
        "a scale or bias that acts through a function of itself",
        "as it was",
        "it acts through a function of itself, such as exp(w), so what it should start from is the "
        "model's own choice",
        "",
    ),
    Rule(
        "length",
        _slot("length"),
        lambda _: None,
        "the length g of a weight under weight normalization",
        "as it was",
        "the length of a normalized weight's rows, which decides the size of the weight",
        "Salimans & Kingma 2016, section 2",
    ),
    Rule(
        "scale",
        _slot("scale"),
        lambda role: Ones() if role.neutral is None else _neutral(role),
        "any other scale",
        "1, or what makes it one (0 in 1 + w)",
        "a scale starts without effect",
        "Ioffe & Szegedy 2015; Ba et al. 2016",
    ),
    Rule(
        "slope",
        _slot("slope"),
        lambda _: Constant(0.25),
        "PReLU's slope",
        "0.25",
        "the slope that PReLU was published with",
        "He et al. 2015, section 2.1",
    ),
    Rule(
        "critical bias",
        lambda role: role.slot == "bias" and _biased(role),
        lambda role: Normal(std=math.sqrt(role.chain.point.bias)),  # type: ignore[union-attr]
        "a bias in a deep plain chain at the edge of chaos",
        "Var = σ_b², see the critical chain",
        "the bias variance of the edge of chaos, without which the signal sinks to zero with depth",
        "Schoenholz et al. 2017, section 3",
    ),
    Rule(
        "bias",
        _slot("bias", "shift", "input bias", "recurrent bias"),
        _neutral,
        "any other bias or shift",
        "0",
        "adds nothing at first; the weights already differ, so no symmetry is left to break",
        "Glorot & Bengio 2010, section 2.3; He et al. 2015, section 2.2",
    ),
    Rule(
        "adapter in",
        _motif("adapter in"),
        lambda _: HeUniform(a=math.sqrt(5)),
        "the first of two factors of low rank beside a weight",
        "U(±1/√fan_in)",
        "the first factor of a low-rank adapter is random, so that the second one, which is zero, "
        "gets a gradient",
        "Hu et al. 2021, section 4.1 and its code",
    ),
    Rule(
        "adapter out",
        _motif("adapter out"),
        lambda _: Zeros(),
        "the second of two factors of low rank beside a weight",
        "W = 0",
        "the second factor of a low-rank adapter: the model starts as it was without the adapter",
        "Hu et al. 2021, section 4.1",
    ),
    Rule(
        "router",
        _motif("router"),
        lambda role: HeNormal(gain=math.sqrt(0.1) * _gain(role)),
        "a weight whose outputs are ranked to choose experts",
        "Var = 0.1/fan_in",
        "chooses among experts: a tenth of the usual variance, so that none is preferred for long",
        "Fedus et al. 2021, section 2.4",
    ),
    Rule(
        "DeepNorm",
        lambda role: role.slot == "weight" and _motif("scaled skip")(role),
        lambda role: XavierNormal(gain=(4 * role.motif.size) ** -0.25),  # type: ignore[union-attr]
        "a weight on a branch (but queries and keys) whose skip is scaled up, under a norm layer",
        "Xavier with gain β = (8N)^(-1/4), N layers of two branches",
        "the skip beside its branch is scaled up, and β = (8N)^(-1/4) bounds what one update changes",
        "Wang et al. 2022, table 2",
    ),
    Rule(
        "residual branch",
        lambda role: role.slot == "weight" and role.ends_branch and role.activation is None,
        _branch_end,
        "a weight that writes to a residual stream of N branches",
        "Var = E[x₀²]/(N · fan_in · E[x²]), x₀ what the stream starts with",
        "writes to a residual stream: with N branches, 1/sqrt(N) of what the stream starts with, so "
        "that the sum at most doubles in variance",
        "Radford et al. 2019, section 2.3; Zhang et al. 2019",
    ),
    Rule(
        "query or key",
        lambda role: role.slot == "weight" and _motif("query or key")(role),
        lambda role: HeNormal(gain=_gain(role) * role.motif.size**-0.25),  # type: ignore[union-attr]
        "a query or key of attention that does not divide its scores by √width",
        "Var = 1/(√width · fan_in)",
        "attention here does not divide its scores by the root of the width: queries and keys that "
        "share it keep the scores at unit size",
        "Raffel et al. 2020 and its code; Vaswani et al. 2017, section 3.2.1",
    ),
    Rule(
        "ICNR",
        _motif("sub-pixel"),
        lambda role: ICNR(round(role.motif.size), _kept(role, _gain(role))),  # type: ignore[union-attr]
        "a convolution before a pixel shuffle",
        "the kernels of one channel's pixels equal",
        "its channels become pixels: equal kernels start as nearest-neighbour upsampling, without a "
        "checkerboard",
        "Aitken et al. 2017",
    ),
    Rule(
        "SIREN, first layer",
        lambda role: _sine(role) > 0 and role.source == "input",
        lambda role: Uniform(-1 / role.layout.fan_in, 1 / role.layout.fan_in),
        "a weight between the input and sin(ω₀ ·), ω₀ of 2 or more",
        "U(±1/fan_in)",
        "spreads coordinates over several periods of the sine",
        "Sitzmann et al. 2020, supplement 1.5",
    ),
    Rule(
        "SIREN",
        lambda role: _sine(role) > 0,
        lambda role: Uniform(*_sine_bounds(role)),
        "any other weight before sin(ω₀ ·), ω₀ of 2 or more",
        "U(±√(6/fan_in)/ω₀)",
        "a sine of standard normal phases follows: the same law in every layer",
        "Sitzmann et al. 2020, section 3.2",
    ),
    Rule(
        "SELU",
        _before("selu"),
        lambda role: _kept(role, _gain(role)),
        "a weight before SELU",
        "Var = 1/fan_in (· 1/E[x²])",
        "SELU pulls mean and variance to 0 and 1 by itself if weights have variance 1/fan_in",
        "Klambauer et al. 2017, section 2",
    ),
    Rule(
        "mirrored chain",
        _mirrored,
        _looks_linear,
        "one of 13 layers or more in a row, the odd part of whose activation is all but linear",
        "[[W, -W], [-W, W]], W Haar times E[(φ(z) - φ(-z))²]^(-1/2)",
        "{length} layers in a row with no norm or residual sum: pairs of opposite units leave of "
        "the activation its odd part, which is all but linear, so that orthogonal weights keep "
        "signal and gradient at any depth",
        "Balduzzi et al. 2017, section 4; Saxe et al. 2014",
    ),
    Rule(
        "critical chain",
        lambda role: (
            role.slot == "weight" and role.chain is not None and role.chain.point is not None
        ),
        _critical,
        "one of 13 layers or more in a row whose activation has a stable critical point",
        "W Haar times σ_w; σ_w² E[φ'²] = 1 and q = σ_w² E[φ²] + σ_b²",
        "{length} layers in a row with no norm or residual sum: at the edge of chaos, with biases of "
        "variance {bias}, neither the signal nor its gradient grows or shrinks",
        "Schoenholz et al. 2017, section 3; Pennington et al. 2017",
    ),
    Rule(
        "isometric chain",
        lambda role: role.slot == "weight" and role.chain is not None and not role.chain.hopeless,
        lambda role: _orthogonal_for(role, _gain(role)),
        "one of 13 layers or more in a row of linear maps",
        "W Haar",
        "{length} layers in a row with no norm or residual sum: an orthogonal matrix keeps every "
        "length, where a random one only keeps their mean",
        "Saxe et al. 2014, section 3",
    ),
    Rule(
        "saturating",
        _before(*SATURATING),
        lambda role: XavierNormal(gain=1.0 if _after(*SATURATING)(role) else _gain(role)),
        "a weight before tanh, sigmoid, softsign, erf, hard tanh or hard sigmoid",
        "Var = 2/(fan_in + fan_out)",
        "{activation} is linear around 0: a compromise between forward and backward signal",
        "Glorot & Bengio 2010, eq. 12",
    ),
    Rule(
        "ReLU",
        _after("relu", "leaky_relu"),
        lambda role: _kept(role, _gain(role)),
        "a weight fed by ReLU or leaky ReLU of slope a",
        "Var = 2/((1 + a²) fan_in)",
        "fed by {fed}, which takes part of the second moment; gain {gain} restores it",
        "He et al. 2015, eq. 10 and 15",
    ),
    Rule(
        "any activation",
        lambda role: role.slot == "weight" and role.fed is not None,
        lambda role: _kept(role, _gain(role)),
        "a weight fed by any other function φ of one signal",
        "Var = 1/(E[φ(z)²] fan_in)",
        "fed by {fed}, which was measured: gain {gain} keeps its second moment at one",
        "He et al. 2015, eq. 10, with the exact E[φ(z)²]",
    ),
    Rule(
        "unknown signal",
        lambda role: role.slot == "weight" and not role.followed,
        lambda role: _kept(role, _gain(role)),
        "a weight fed by what cannot be followed",
        "Var = 1/fan_in",
        "what feeds it ({source}) goes through an operation that is not followed, and is taken to be "
        "of unit size; Plan.calibrate measures it",
        "LeCun et al. 1998, section 4.6",
    ),
    Rule(
        "unit signal",
        lambda role: role.slot == "weight" and abs(_gain(role) - 1) < 1e-9,
        lambda _: LeCunNormal(),
        "a weight fed by a signal of unit size: the input, a norm layer",
        "Var = 1/fan_in",
        "what feeds it has unit size already ({source}), and Var(w) = 1/fan_in keeps it",
        "LeCun et al. 1998, section 4.6; He et al. 2015, section 2.2",
    ),
    Rule(
        "measured signal",
        _slot("weight"),
        lambda role: _kept(role, _gain(role)),
        "a weight fed by anything else",
        "Var = 1/(E[x²] fan_in)",
        "what feeds it ({source}) has the second moment {second}; gain {gain} makes it one",
        "LeCun et al. 1998, section 4.6; He et al. 2015, section 2.2",
    ),
)


def to_markdown() -> str:
    """The rule book as a page: the first row whose condition holds decides."""
    head = "| rule | a parameter that is … | gets | because | source |\n|---|---|---|---|---|\n"
    rows = (
        f"| {rule.name} | {rule.when} | {rule.formula} | {_plain(rule.reason)} | {rule.source} |"
        for rule in RULES
    )
    return head + "\n".join(rows)


def to_json() -> str:
    """The rule book as JSON, in the order in which rules are asked."""
    fields = ("name", "when", "formula", "reason", "source")
    return json.dumps([{f: getattr(rule, f) for f in fields} for rule in RULES], indent=1)


def _plain(reason: str) -> str:
    """A reason with what is filled in for each parameter named in words."""
    words = {
        "activation": "the activation",
        "fed": "the function",
        "gain": "g",
        "second": "E[x²]",
        "source": "see `explain`",
        "length": "13 or more",
        "bias": "σ_b²",
    }
    return reason.format(**words)


METHODS = ["auto", "zero", "random", "xavier", "he", "lecun", "orthogonal", "sparse", "variational"]


def _plain_gain(role: Role) -> float:
    """The gain that a method's weight needs; 1 between units that are linear around 0.

    The forward gain of tanh, 1.59, would make gradients grow by 1.18 a layer in variance.
    """
    return 1.0 if _after(*SATURATING)(role) else _gain(role)


def _orthogonal(role: Role) -> Initializer:
    """With more outputs than inputs the length is kept, so the variance a unit is restored."""
    _, n_out, n_in, taps = role.layout.maps_shape
    return Orthogonal(gain=_plain_gain(role) * math.sqrt(max(1.0, n_out / max(n_in * taps, 1))))


def _sparse(role: Role) -> Initializer:
    """One connection in ten, but ten a unit at least: fewer leave inputs that no unit hears."""
    if role.layout.fan_in < 100:
        return Sparse(connections=10, gain=_plain_gain(role))
    return Sparse(gain=_plain_gain(role))


def _variational(role: Role) -> Initializer:
    base, _ = _first(role)
    assert base is not None, "the rule book has something for every weight"
    return Variational(base=base)


# What `method=` puts on every weight matrix; other roles keep their rule.
_BY_METHOD: dict[str, Callable[[Role], Initializer]] = {
    "zero": lambda _: Zeros(),
    "random": lambda _: Normal(std=0.02),
    "xavier": lambda _: XavierNormal(),
    "he": lambda role: he_for(role.fed) if role.fed else HeNormal(gain=_gain(role)),
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
    if role.layout.kind == "kept":
        role = replace(role, chain=None)  # whose matrices are no longer to be had
    initializer, rule = _first(role)
    close = tuple(other.name for other in RULES if other is not rule and other.applies(role))
    name = rule.name
    gain = getattr(initializer, "gain", None)
    reason = rule.reason.format(gain=f"{gain:.4g}" if gain else "1", **_facts(role))
    source = rule.source
    eligible = role.slot == "weight" if method == "variational" else role.slot in _WEIGHTS
    if method != "auto" and eligible:
        initializer = _BY_METHOD[method](role)
        reason, source, name = f"method={method!r} was asked for", "your choice", ""
    if role.layout.kind == "kept" and isinstance(initializer, WholeInitializer):
        initializer = HeNormal(gain=_plain_gain(role))
        reason += "; what a sparse weight keeps is drawn one by one, at the scale of its own inputs"
    if role.norm:
        reason += " (behind a norm layer)"
    if role.guess:
        reason += "; a guess from the layer's type, since no run of the model used it"
    return Choice(initializer, reason, source, name, close, tuple(_numbers(role)))


def _numbers(role: Role) -> Iterator[tuple[str, float]]:
    """What the formulas of the rules speak of, where the role has it."""
    if role.layout.is_map:
        yield from (("fan_in", role.layout.fan_in), ("fan_out", role.layout.fan_out))
    if role.slot in ("weight", "position", "token") and role.followed:
        yield "E[x²]", role.second
    if role.ends_branch:
        yield from (("N", role.branches), ("E[x₀²]", role.start))
    if role.chain is not None:
        yield "layers", role.chain.length
        if point := role.chain.point:
            yield from (("σ_w²", point.weight), ("σ_b²", point.bias), ("q", point.second))
    if role.motif is not None and role.motif.size != 1:
        yield role.motif.name, role.motif.size


def _facts(role: Role) -> dict[str, str]:
    """What the reasons of the rules name."""
    point = role.chain.point if role.chain else None
    return {
        "activation": role.activation.name if role.activation else "",
        "fed": role.fed.name if role.fed else "",
        "source": {"": "what feeds it"}.get(role.source, role.source),
        "second": f"{role.second:.3g}",
        "length": str(role.chain.length) if role.chain else "",
        "bias": f"{point.bias:.3g}" if point else "",
    }


def _first(role: Role) -> tuple[Initializer | None, Rule]:
    rule = next(rule for rule in RULES if rule.applies(role))
    return rule.initializer(role), rule
