"""The gains and scales that rules compute, and the initializers that they make of them."""

from __future__ import annotations

import math
from dataclasses import replace

from isoinit._planning.digits import rounded
from isoinit._planning.rules.conditions import SATURATING, after
from isoinit._planning.rules.usual import ESTIMATE
from isoinit._reading.activation import Activation
from isoinit._reading.roles import Role
from isoinit.initializers import (
    Centred,
    Constant,
    DeltaOrthogonal,
    GateBias,
    HeNormal,
    Initializer,
    KinkBias,
    LeCunNormal,
    LooksLinear,
    Normal,
    Ones,
    Orthogonal,
    Spherical,
    Uniform,
    XavierNormal,
    Zeros,
)

# Gains


def forward_gain(role: Role) -> float:
    """Return the gain that undoes the second moment of a weight's input: E[x²]^(-1/2).

    The gain is exact where the input is one function of a unit signal. A second moment that was
    worked out from samples is within a percent or so.
    """
    exact = role.fed.gain if role.fed else 1.0
    if not role.followed or not role.second > 0:
        return exact
    measured = 1 / math.sqrt(role.second)
    return exact if abs(measured / exact - 1) < 0.02 else measured


def two_way_gain(role: Role) -> float:
    """Return the gain of a weight, or 1 behind a function that is linear around 0.

    The forward gain of tanh, 1.59, would make gradients grow by 1.18 a layer in variance.
    """
    return 1.0 if after(*SATURATING)(role) else forward_gain(role)


# Facts with a number


def motif_size(role: Role) -> float:
    """Return the number that belongs to a small pattern, such as how many pixels a channel becomes."""
    assert role.motif is not None, "the rule asks for one"
    return role.motif.size


def chain_gain(role: Role) -> float:
    """Return the gain at which a layer of a deep plain chain gives the signal its critical size.

    Beside biases of variance V_b the weights give q - V_b: of what they read of the function before,
    E[ψ²], or in the first layer of what feeds the chain. The last layer gives one.
    """
    chain = role.chain
    assert chain is not None, "the rule asks for one"
    target = chain.out.second - chain.bias if chain.out else 1.0
    if chain.into:
        return math.sqrt(target / chain.into.kept)
    return math.sqrt(target) * forward_gain(role)


def chain_bias(role: Role) -> float:
    """Return the variance of the biases that a deep plain chain rests on; 0 for any other layer."""
    return role.chain.bias if role.chain else 0.0


def layer_scale(branches: int) -> float:
    """Return LayerScale's start by the number of blocks, of two branches each."""
    blocks = branches / 2
    return 0.1 if blocks <= 18 else 1e-5 if blocks <= 24 else 1e-6


# Initializers


def neutral(role: Role) -> Initializer:
    """Return the constant at which a bias adds nothing or a scale changes nothing."""
    value = role.neutral
    if value is None:
        value = 1.0 if role.slot == "scale" else 0.0
    return {0.0: Zeros(), 1.0: Ones()}.get(value, Constant(value))


def forget_gate(role: Role) -> Initializer:
    """Return one for the forget gate, and zero for the gates that are stacked with it."""
    if role.motif is None or role.motif.name != "forget gate":
        return GateBias()  # in torch's order
    if role.motif.size == 1:
        return Ones()
    return GateBias(gate=role.motif.place, gates=int(role.motif.size))


def he_for(activation: Activation) -> Initializer:
    """Return He's initializer with the gain of an activation."""
    if activation.name == "leaky_relu":
        return HeNormal(a=activation.slope)
    if activation.name == "relu":
        return HeNormal()
    return HeNormal(gain=activation.gain)


def he_or_lecun(role: Role) -> Initializer:
    """Return Var(w) = gain²/fan_in, under the name that the field has for it."""
    size = forward_gain(role)
    if size == 1.0:
        return LeCunNormal()
    if role.fed and role.fed.name in ("relu", "leaky_relu") and size == role.fed.gain:
        return he_for(role.fed)
    return HeNormal(gain=size)


def branch_end(role: Role) -> Initializer:
    """Return a share of 1/N each, so that N branches together add what the stream starts with."""
    return HeNormal(gain=forward_gain(role) * math.sqrt(role.start / role.branches))


def siren(role: Role, frequency: float) -> Initializer:
    """Return the uniform distribution after which sin(ω₀ z) has a standard normal phase."""
    bound = math.sqrt(6 / role.layout.fan_in) / round(frequency, 6)
    return Uniform(-bound, bound)


def spherical(role: Role) -> Initializer:
    """Return directions that make half of a unit variance, whatever the sizes of the inputs."""
    sizes = tuple(size for _, size in role.few)
    return Spherical(math.sqrt(0.5), sizes if set(sizes) != {1.0} else ())


def start_of_weight(role: Role) -> Initializer:
    """Return what a generated weight starts as: what it would be drawn from if it were a parameter."""
    assert role.motif is not None, "the rule asks for one"
    return Normal(std=(ESTIMATE if role.motif.place else 1.0) / math.sqrt(role.motif.size))


def rows(role: Role) -> Initializer:
    """Return rows that a step of Adam changes by the same share as the weights that read them.

    Steps have one size, so that shares are as 1/std. Of d columns of size s the weights behind have
    the std 1/(s √d), which is equal for s = d^(-1/4).
    """
    return Normal(std=role.layout.fan_out**-0.25 / math.sqrt(role.layout.fan_in))


def kinks(role: Role) -> Initializer:
    """Return the biases beside them: over a range of ±√3 deviations they make the other half."""
    assert role.beside is not None, "the rule asks for one"
    centre, sizes = zip(*role.few, strict=True)
    return KinkBias(role.beside.initializer, role.beside.weight, role.beside.layout, centre, sizes)


def orthogonal(role: Role, gain: float) -> Initializer:
    """Return an orthogonal matrix that keeps the variance of each unit.

    With more outputs than inputs an orthogonal matrix keeps the length, which is then shared by
    more units: the gain makes up for that.
    """
    _, n_out, n_in, taps = role.layout.maps_shape
    if role.layout.kind == "conv":  # taps that fall on padding take their part of the length away
        gain *= math.sqrt(n_in * taps / role.layout.fan_in)
    return Orthogonal(gain=gain * math.sqrt(max(1.0, n_out / max(n_in * taps, 1))))


def isometric(role: Role, gain: float) -> Initializer:
    """Return the same, but for a convolution that widens: a matrix at the centre tap."""
    stack, n_out, n_in, _ = role.layout.maps_shape
    if role.layout.kind == "conv" and n_out >= n_in and stack == 1:
        return DeltaOrthogonal(gain=gain * math.sqrt(n_out / n_in))
    return orthogonal(role, gain)


def centred(role: Role, gain: float) -> Initializer:
    """Return an orthogonal matrix whose rows sum to zero and that keeps the variance of each unit.

    A convolution that doesn't narrow gets a matrix at its centre tap, as in `isometric`.
    """
    stack, n_out, n_in, _ = role.layout.maps_shape
    delta = role.layout.kind == "conv" and n_out >= n_in and stack == 1
    taken = Centred(taps="centre" if delta else "all")
    return replace(taken, gain=gain * math.sqrt(n_out / taken.rank(role.layout)))


def mean_taken_out(role: Role) -> Initializer:
    """Return weights that sum to zero, at the size that what varies asks for."""
    size = 1 / math.sqrt(rounded(role.second - role.mean**2) * role.layout.fan_in)
    return Centred(gain=size / Centred().std_for(role.layout))


def saturating(role: Role) -> Initializer:
    """Return Xavier's initializer where both of its fans are one, and else that of the forward signal.

    Over layers of unequal widths the forward factors 2 fan_in/(fan_in + fan_out) do not cancel, and
    the factors fan_out/fan_in of the gradient do (He et al. 2015, section 2.2).
    """
    gain = two_way_gain(role)
    if math.isclose(role.layout.fan_in, role.layout.fan_out):
        return XavierNormal(gain=gain)
    return LeCunNormal() if gain == 1 else HeNormal(gain=gain)


def looks_linear(role: Role) -> Initializer:
    """Return mirrored weights, of the odd part's gain where their input is mirrored too."""
    assert role.chain is not None, "the rule asks for one"
    return LooksLinear(gain=chain_gain(role), mirror=role.chain.mirror)
