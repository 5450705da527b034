"""What must hold of a role for a rule to apply."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from isoinit._reading.activation import Activation
from isoinit._reading.roles import Role
from isoinit.initializers import Spherical

Condition = Callable[[Role], bool]

# Functions that are linear around 0 and flat on both sides.
SATURATING = ("tanh", "sigmoid", "softsign", "erf", "hardtanh", "hardsigmoid")
STEP = 1e-3  # from zero, to tell a function's slopes there


def slot(*slots: str) -> Condition:
    """Hold for a parameter in one of these slots of its operation."""
    return lambda role: role.slot in slots


def meets_relu(role: Role) -> bool:
    """Whether the units of a recurrent layer are ReLU: of torch's own, or of one in a loop."""
    follows = role.activation is not None and role.activation.name == "relu"
    return role.op.startswith("rnn_relu") or follows


def motif(name: str) -> Condition:
    """Hold for a part of this small pattern."""
    return lambda role: role.motif is not None and role.motif.name == name


def before(*names: str) -> Condition:
    """Hold for a weight that one of these activations follows."""
    return lambda role: (
        role.slot == "weight" and role.activation is not None and role.activation.name in names
    )


def after(*names: str) -> Condition:
    """Hold for a weight whose input is the output of one of these activations."""
    return lambda role: role.slot == "weight" and role.fed is not None and role.fed.name in names


def sine_frequency(activation: Activation | None) -> float:
    """Return ω₀ of sin(ω₀ z), or 0 for anything else and for sines of slow phases."""
    if activation is None or "sin" not in activation.name:
        return 0.0
    function, step = activation.function, 1e-6
    low, high = function(np.array([-step, step]))
    frequency = float(high - low) / (2 * step)
    z = np.linspace(-1.0, 1.0, 41)
    same = frequency >= 2 and np.allclose(function(z), np.sin(frequency * z), atol=1e-4)
    return frequency if same else 0.0


def before_sine(role: Role) -> float:
    """Return ω₀ of the sine sin(ω₀ ·) that follows a weight; 0 where none does."""
    return sine_frequency(role.activation) if role.slot == "weight" else 0.0


def behind_sine(role: Role) -> float:
    """Return ω₀ of the sine of another weight's output that feeds a weight; 0 where none does."""
    alone = role.slot == "weight" and role.source == "weight"
    return sine_frequency(role.fed) if alone else 0.0


def ends_branch_as_scale(role: Role) -> bool:
    """Return whether it is a scale that a residual branch ends with, and nothing else.

    Where it is divided by, or takes part in another weight, zero would undo more than the branch.
    Before a ReLU, which is flat at zero, it would stay zero: no gradient comes back to it.
    """
    scales = role.slot == "scale" and role.ends_branch and not role.through
    return scales and role.alone and not role.divides and not _is_flat_at_zero(role.activation)


def _is_flat_at_zero(activation: Activation | None) -> bool:
    """Return whether a function has no slope on one side of zero: torch's gradient there is none."""
    if activation is None:
        return False
    low, middle, high = activation.function(np.array([-STEP, 0.0, STEP]))
    return bool(min(abs(middle - low), abs(high - middle)) < STEP / 100)


def is_divisor(role: Role) -> bool:
    """Return whether it is added to the signal, and divided by elsewhere."""
    return role.slot in ("bias", "shift") and role.divides and role.neutral == 0


def is_forget_gate(role: Role) -> bool:
    """Return whether it is the bias of an LSTM's gates, the one that opens its forget gate."""
    by_hand = motif("forget gate")(role) and role.slot == "bias"
    return by_hand or (role.slot == "input bias" and role.op.startswith("lstm"))


def is_single_number(role: Role) -> bool:
    """Return whether the parameter has one element."""
    return math.prod(role.layout.shape) == 1


def is_drowned(role: Role) -> bool:
    """Return whether the mean of the function that feeds a weight is larger than what varies."""
    if role.slot != "weight" or role.fed is None or not role.followed:
        return False
    maps = role.layout.is_map and role.layout.maps_shape[2] > 1
    varies = role.second - role.mean**2
    if not (maps and 1e-9 * role.second < varies < role.second / 2):
        return False
    return role.fed.mean**2 * role.fed.gain**2 > 1 / 2  # not by what stands between, a pool


def is_beside_spherical(role: Role) -> bool:
    """Return whether the weight beside a bias is drawn as a direction for each unit."""
    return role.beside is not None and isinstance(role.beside.initializer, Spherical)


def acts_through_a_function(role: Role) -> bool:
    """Return whether it is a scale or bias that acts as a function of itself, such as exp(w)."""
    return bool(role.through) and role.neutral is None and role.slot in ("scale", "bias", "shift")


def in_critical_chain(role: Role) -> bool:
    """Return whether its layer is in a deep plain chain that rests at a critical point."""
    return role.chain is not None and (role.chain.into or role.chain.out) is not None


def in_centred_chain(role: Role) -> bool:
    """Return whether a weight reads a function whose mean is to be taken out."""
    return role.slot == "weight" and role.chain is not None and role.chain.centred


def in_mirrored_chain(role: Role) -> bool:
    """Return whether a weight's units or inputs are mirrored."""
    return role.slot == "weight" and role.chain is not None and role.chain.mirror != ""
