"""The edge of chaos: weight and bias variances that keep signal and gradient alive at any depth.

A layer of random weights of variance V_w/fan_in and biases of variance V_b turns a second moment q
into V_w·E[ψ(√q z)²] + V_b, and multiplies the gradient's variance by χ = V_w·E[ψ'(√q z)²]; ψ is what
the weights read of the activation (`mean_field`). Where q is a fixed point and χ = 1, neither grows
nor shrinks with depth (Poole et al. 2016; Schoenholz et al. 2017, section 3; Hayou et al. 2019).

χ = 1 fixes V_w, and V_b = q - V_w·E[ψ²] must not be negative:

- plain weights read φ, whose mean counts in E[ψ²]: sigmoid and softplus have no critical point;
- centred weights read φ - E[φ], and every continuous φ has one at every q (see `Centred`);
- mirrored weights need biases of zero, and χ is what it is: 1 for a linear odd part.

Where V_b would be negative, or there are no biases, V_b = 0 and V_w = q/E[ψ²] keep the signal, and χ
says what becomes of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

from isoinit.initializers.scale.gains import Function
from isoinit.initializers.scale.mean_field import Response, Way, responses

# Relative bias variances below count as zero.
SMALLEST = 1e-4


@dataclass(frozen=True)
class Point:
    """A fixed point of an activation and the weights that read it.

    Attributes:
        way: which weights read the activation.
        second: q, the second moment of the pre-activations.
        weight: V_w, the variance of the weights times fan-in.
        bias: V_b, the variance of the biases.
        kept: E[ψ²], the second moment of what the weights read.
        slope: χ, what a layer multiplies the gradient's variance by.
        stability: what a layer multiplies a small relative change of q by.
    """

    way: Way
    second: float
    weight: float
    bias: float
    kept: float
    slope: float
    stability: float


def points(function: Function, second: float, *, biased: bool = True) -> dict[Way, Point]:
    """Return the fixed point of each way to read an activation at a second moment.

    Args:
        function: φ, elementwise, from a float64 array to one of the same shape.
        second: q.
        biased: whether the layers have biases.

    A way is missing where there is none: for the odd part of an even function, a step function.

    Example:
        >>> import numpy as np
        >>> found = points(np.tanh, 0.25)["plain"]
        >>> print(f"{found.weight:.4f} {found.bias:.4f} {found.slope:.4f}")
        1.3940 0.0081 1.0000
    """
    return {
        way: point
        for way, read in responses(function, second).items()
        if (point := point_of(way, read, biased=biased)) is not None
    }


def point_of(way: Way, read: Response, *, biased: bool) -> Point | None:
    """Return the fixed point of what weights read.

    None where they read nothing (a constant), nothing finite, or what is flat beside its jumps: no
    weights give a step function a gradient.
    """
    if not all(1e-200 < moment < 1e200 for moment in (read.second, read.slope)):
        return None
    weight = read.size / read.second
    if biased and way != "mirrored" and weight * read.slope > 1 + SMALLEST:
        weight = 1 / read.slope
    bias = read.size - weight * read.second
    # What the grid's error makes of zero is no bias: ReLU's.
    bias = 0.0 if bias < SMALLEST * read.size else bias
    numbers = (weight, bias, read.second, weight * read.slope, weight * read.growth)
    # To nine digits: the last bits of a sum depend on the processor, and a plan must not.
    return Point(way, read.size, *(float(f"{number:.9g}") for number in numbers))
