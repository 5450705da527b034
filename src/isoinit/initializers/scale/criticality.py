"""The edge of chaos: weight and bias variances that keep signal and gradient alive at any depth.

A layer of random weights N(0, V_w/fan_in) and biases N(0, V_b) turns a second moment q into
V_w·E[φ(√q z)²] + V_b, and multiplies the gradient's variance by χ = V_w·E[φ'(√q z)²]. Where q is a
fixed point and χ = 1, neither grows nor shrinks with depth (Poole et al. 2016; Schoenholz et al. 2017,
section 3; Hayou et al. 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoinit.initializers.scale.gains import Array, Function, expectation

# Second moments of the pre-activation that are tried: below, finite layers let the signal sink under
# 0.4 now and then; above 1, saturating functions lose their slope.
SIZES = (0.25, 0.36, 0.5, 0.7, 1.0)
# A fixed point that drives small differences in size apart by more than this a layer is no place to
# stay: over 50 layers it makes 2.7 of 1.
STABLE = 1.02


@dataclass(frozen=True)
class Critical:
    """A critical point of an activation.

    Attributes:
        second: q, the second moment of the pre-activations.
        weight: V_w, the variance of the weights times fan-in.
        bias: V_b, the variance of the biases.
    """

    second: float
    weight: float
    bias: float


def drift(function: Function, second: float = 1.0) -> float:
    """χ/(layer's own gain): by how much a layer that keeps q multiplies the gradient's variance.

    q·E[φ'(√q z)²]/E[φ(√q z)²]: 1 for ReLU and for every linear function, 1.18 for tanh at q = 1.

    Example:
        >>> import numpy as np
        >>> round(drift(np.tanh), 4)
        1.1778
    """
    size = math.sqrt(second)
    slopes = expectation(lambda z: np.square(_slope(function, size * z)))
    return second * slopes / _moment(function, second)


def critical(function: Function) -> Critical | None:
    """The critical point with the least drift among `SIZES`; None if there is none to stay at.

    Sigmoid and softplus have none: their mean carries most of the second moment, so that a critical
    slope would need a negative bias variance. GELU and SiLU have some, but unstable ones: a layer
    that comes out a little too large makes the next one larger still.

    Example:
        >>> import numpy as np
        >>> found = critical(np.tanh)
        >>> print(f"{found.second} {found.weight:.4f} {found.bias:.4f}")
        0.25 1.3940 0.0081
    """
    found = []
    for second in SIZES:
        point = _at(function, second)
        if point is not None and _stability(function, point) <= STABLE:
            found.append((drift(function, second), point))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _at(function: Function, second: float) -> Critical | None:
    size = math.sqrt(second)
    slopes = expectation(lambda z: np.square(_slope(function, size * z)))
    if not slopes > 0 or not math.isfinite(slopes):
        return None
    weight = 1 / slopes
    bias = second - weight * _moment(function, second)
    # The slope across a kink is off by what its step is: ReLU's critical bias variance is zero.
    bias = 0.0 if abs(bias) < 1e-4 * second else bias
    return Critical(second, weight, bias) if bias >= 0 else None


def _stability(function: Function, point: Critical) -> float:
    """By how much a layer multiplies a small relative change of q."""
    low, high = (_moment(function, point.second * factor) for factor in (0.99, 1.01))
    return point.weight * (high - low) / (0.02 * point.second)


def _moment(function: Function, second: float) -> float:
    """E[φ(√q z)²]."""
    return expectation(lambda z: np.square(function(math.sqrt(second) * z)))


def _slope(function: Function, z: Array) -> Array:
    step = 1e-5
    return (function(z + step) - function(z - step)) / (2 * step)
