"""Logarithms and exponentials with the same bits on every machine.

Those of NumPy differ in the last bit between its versions and between processors. Here they are made
of sums, products and quotients, which IEEE 754 rounds in one way. Source: `e_log.c` and `e_exp.c` of
FreeBSD's msun (Ng 1993). The argument is reduced to one near 1 or 0, where a few terms of a series
suffice. The error is below 1.5 units in the last place.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HIGH, _LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
"""log(2) in two parts: multiples of the first by whole numbers below 2¹⁹ are exact."""

_SMALL: Final = 0.3
_LOG: Final = [2.0 / k for k in range(3, 24, 2)]
_EXP: Final = [1.0]
for _k in range(1, 15):
    _EXP.append(_EXP[-1] / _k)


def log(x: Any) -> Floats:
    """Return the natural logarithm of positive numbers that are no subnormals.

    Example:
        >>> log([1.0, 2.0, 10.0]).tolist()
        [0.0, 0.6931471805599453, 2.302585092994046]
    """
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    small = mantissa < 0.7071067811865476
    f = np.where(small, 2 * mantissa, mantissa) - 1  # in -0.293 to 0.415, and exact
    k = (exponent - small).astype(np.float64)
    s = f / (2 + f)
    half = 0.5 * f * f
    rest = _series(s * s, _LOG) * (s * s)
    found = k * _HIGH - ((half - (s * (half + rest) + k * _LOW)) - f)
    return np.asarray(found)


def exp(x: Any) -> Floats:
    """Return the exponential of numbers between -700 and 700.

    Example:
        >>> exp([0.0, 1.0, -1.0]).tolist()
        [1.0, 2.71828182845904..., 0.36787944117144...]
    """
    x = np.asarray(x, np.float64)
    k = np.rint(x * 1.4426950408889634)
    high, low = x - k * _HIGH, k * _LOW
    r = high - low
    tail = r * r * _series(r, _EXP[2:])
    return np.asarray(np.ldexp(1 + (high + (tail - low)), k.astype(np.int64)))


def log1mexp(x: Any) -> Floats:
    """Return log(1 - exp(-x)) of positive numbers; for small ones by a series, without cancellation.

    Example:
        >>> log1mexp([0.1, 1.0]).tolist()
        [-2.352168461..., -0.458675145...]
    """
    x = np.asarray(x, np.float64)
    small = np.minimum(x, _SMALL)
    large = np.clip(x, _SMALL, 700.0)
    rest = np.where(x < _SMALL, small * _series(-small, _EXP[1:]), 1 - exp(-large))
    return log(rest)


def _series(x: Floats, terms: list[float]) -> Floats:
    found = np.full_like(x, terms[-1])
    for term in reversed(terms[:-1]):
        found = found * x + term
    return found
