"""The gain of an activation: the factor that undoes what it does to the size of a signal.

For a unit whose input is standard normal, an activation φ turns a second moment of 1 into E[φ(z)²].
The gain E[φ(z)²]^(-1/2) on the weights that follow restores it: the general form of the √2 of
He et al. (2015, eq. 10), exact for any φ.

The expectation is computed by Gauss–Legendre quadrature on panels that are halved until they
agree. Gauss–Hermite converges slowly over a kink (ReLU's at 0 alone costs many digits), while a
panel that ends at the kink is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit.errors import ArgumentError

Array = npt.NDArray[np.float64]
Function = Callable[[Array], Array]

PRELU_SLOPE = 0.25  # He et al. 2015, section 2.1
_EDGE = 12.0  # the normal density beyond 12 is below 1e-31: nothing a float64 sum can see
_PANELS = 48  # of width 1/2: kinks at multiples of 1/2 (ReLU, hard tanh, ReLU6, ...) end a panel
_NODES = 20
_HALVINGS = 44  # a jump anywhere is cornered to 0.5 / 2**44
_AT_ZERO = 30  # what lies within 0.5 / 2**30 of 0 is below ten digits
# More panels than this that do not agree are no kinks and jumps, but noise or fast waves everywhere:
# halving would double them without end, and their many nodes are a fair sample already.
_ROUGH = 1024


def expectation(function: Function) -> float:
    """E[function(z)] for z ~ N(0, 1).

    Args:
        function: maps an array of any length to an array of that length, elementwise.

    Returns:
        The expectation, to about 12 digits, kinks and jumps included; infinite or NaN where the
        function is.

    Example:
        >>> round(expectation(lambda z: z**4), 10)
        3.0
    """
    return _expectation(function, 1)


def _expectation(function: Function, power: int) -> float:
    """E[function(z)**power].

    Panels are halved until they agree on the function and on its power: between two nodes, a steep
    change of sign shows in the first alone. Those that touch 0 are halved at all events, for what a
    large slope does there, as in tanh(10⁴ z), is over before the first node. What never agrees, such
    as the rounding error that is the odd part of an even function, is taken as it is once it fills
    `_ROUGH` panels.
    """
    width = 2 * _EDGE / _PANELS
    left = np.linspace(-_EDGE, _EDGE, _PANELS, endpoint=False)
    whole = _panel_integrals(function, power, left, width)
    total = 0.0
    scale = np.abs(whole).sum(1, keepdims=True)
    for halving in range(_HALVINGS):
        at_zero = ((left == 0) | (left == -width)) & (halving < _AT_ZERO)
        width /= 2
        halves = _panel_integrals(function, power, np.stack([left, left + width], 1).ravel(), width)
        pairs = halves.reshape(2, -1, 2)
        rough = at_zero | (np.abs(pairs.sum(2) - whole) > 1e-15 * scale).any(0)
        total += float(pairs[1, ~rough].sum())
        if not rough.any():
            return total
        left = np.stack([left, left + width], 1)[rough].ravel()
        whole = pairs[:, rough].reshape(2, -1)
        if rough.sum() > _ROUGH:
            break
    # What is left lies in panels of width 1e-14 about kinks and jumps: next to nothing, but for a
    # pole such as that of 1/z², which has no expectation. Noise stays as large as it was.
    rest = float(whole[1].sum())
    most = 1e3 if len(left) > _ROUGH else 1e-6
    return total + rest if abs(rest) < most * float(scale[1, 0]) else math.inf


def function_gain(function: Function, what: str = "the activation") -> float:
    """The gain E[φ(z)²]^(-1/2) of an elementwise NumPy function φ.

    Args:
        function: φ, from a float64 array to a float64 array of the same shape.
        what: how an error calls it.

    Raises:
        ArgumentError: where φ is zero, infinite or NaN on almost all inputs, so no gain exists.

    Source: He et al. 2015, eq. 10, with E[φ²] in place of ReLU's 1/2.

    Example:
        >>> round(function_gain(np.tanh), 6)
        1.592537
    """
    moment = _expectation(function, 2)
    # Beyond the edge nothing is summed: a function that grows like exp(z²/4) has its moment there.
    beyond = np.square(function(np.array([-_EDGE, _EDGE]))).max() * _density(_EDGE)
    if not math.isfinite(moment) or moment <= 0 or beyond > 1e-12 * moment:
        raise ArgumentError(
            f"{what} has no finite positive E[φ(z)²] for standard normal z (found {moment:g} "
            "between -12 and 12), so no gain keeps the signal. Check the function on these inputs"
        )
    return 1 / math.sqrt(moment)


@cache
def activation_gain(nonlinearity: str, param: float | None = None) -> float:
    """The exact gain of an activation by name.

    Args:
        nonlinearity: a name of `ACTIVATIONS`: "linear", "relu", "leaky_relu", "tanh", "sigmoid",
            "gelu", "gelu_tanh", "silu", "mish", "elu", "selu", "celu", "softplus", "softsign", ...
        param: leaky ReLU's slope (default 0.01), or ELU's and CELU's α (default 1).

    Unlike `torch.nn.init.calculate_gain` these are the gains that keep the second moment: tanh has
    1.5925, where torch's table says 5/3; SELU has 1, where it says 3/4.

    Raises:
        ArgumentError: for an unknown name, with the known ones.

    Example:
        >>> activation_gain("relu")
        1.4142135623730951
    """
    if nonlinearity in _EXACT:
        return _EXACT[nonlinearity](0.01 if param is None else param)
    if nonlinearity not in ACTIVATIONS:
        raise ArgumentError(
            f"nonlinearity={nonlinearity!r} is not a known name; expected one of "
            f"{', '.join(sorted({*ACTIVATIONS, *_EXACT}))}; for another function, use "
            "isoinit.gain(function)"
        )
    function = ACTIVATIONS[nonlinearity]
    alpha = 1.0 if param is None else param
    return function_gain(lambda z: function(z, alpha), nonlinearity)


# Closed forms: a linear map keeps the moment; a leaky ReLU of slope a keeps (1 + a²)/2 of it (He et
# al. 2015, eq. 15).
_EXACT: dict[str, Callable[[float], float]] = {
    "linear": lambda _: 1.0,
    "relu": lambda _: math.sqrt(2.0),
    "leaky_relu": lambda a: math.sqrt(2.0 / (1 + a * a)),
}


def _normal_cdf(z: Array) -> Array:
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z.ravel()]).reshape(z.shape)


def _sigmoid(z: Array) -> Array:
    return 0.5 * (1 + np.tanh(z / 2))


def _elu(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _celu(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0) / alpha))


# λ and α of Klambauer et al. 2017, eq. 14: the fixed point of mean 0 and variance 1.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

ACTIVATIONS: dict[str, Callable[[Array, float], Array]] = {
    "tanh": lambda z, _: np.tanh(z),
    "sigmoid": lambda z, _: _sigmoid(z),
    "erf": lambda z, _: 2 * _normal_cdf(z * math.sqrt(2)) - 1,
    "gelu": lambda z, _: z * _normal_cdf(z),
    "gelu_tanh": lambda z, _: z * _sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)),
    "silu": lambda z, _: z * _sigmoid(z),
    "mish": lambda z, _: z * np.tanh(np.logaddexp(0, z)),
    "elu": _elu,
    "celu": _celu,
    "selu": lambda z, _: _SELU_SCALE * _elu(z, _SELU_ALPHA),
    "softplus": lambda z, _: np.logaddexp(0, z),
    "softsign": lambda z, _: z / (1 + np.abs(z)),
    "relu6": lambda z, _: np.clip(z, 0, 6),
    "hardtanh": lambda z, _: np.clip(z, -1, 1),
    "hardswish": lambda z, _: z * np.clip(z + 3, 0, 6) / 6,
    "hardsigmoid": lambda z, _: np.clip(z + 3, 0, 6) / 6,
    "sin": lambda z, _: np.sin(z),
}


@cache
def _rule() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


def _panel_integrals(function: Function, power: int, left: Array, width: float) -> Array:
    """The integrals of function and function**power × normal density over [left, left + width]."""
    nodes, weights = _rule()
    points = left[:, None] + width * (nodes + 1) / 2
    values = np.asarray(function(points.ravel()), np.float64).reshape(points.shape)
    both = np.stack([values, values**power]) * _density(points)
    return np.asarray(both @ weights * (width / 2))


def _density(z: Any) -> Any:
    return np.exp(-0.5 * np.square(z)) / math.sqrt(2 * math.pi)
