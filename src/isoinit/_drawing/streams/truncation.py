"""The normal between two bounds: its mass and moments, in decimal arithmetic.

The last bit of `math.erfc` differs between C libraries, and differences of its values lose all their
digits in a tail: Φ(9) and Φ(8) are both 1 to 15 digits. With I(x) = ∫₀ˣ exp(-t²/2) dt to 140 digits
they are exact wherever a truncated normal can be drawn.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Final

from isoinit.errors import ArgumentError

LEAST_MASS: Final = 2.0**-90
"""Of an interval, 10.8 σ out: times 2**-33 it is still a normal float32."""

_DIGITS: Final = 140
_END: Final = 14.0  # nothing is left beyond in float32: 1 - Φ(14) = 8e-45
_TWO_PI: Final = Decimal(
    "6.283185307179586476925286766559005768394338798750211641949889184615632812572"
)


@lru_cache(maxsize=1024)
def split_mass(a: float, b: float) -> tuple[float, float, float]:
    """The standard normal's mass below ``a``, from ``a`` to ``b``, and above ``b``."""
    with localcontext() as context:
        context.prec = _DIGITS
        lower, upper = (Decimal("0.5") + _integral(x) / _TWO_PI.sqrt() for x in _cut(a, b))
        return float(lower), float(upper - lower), float(1 - upper)


@lru_cache(maxsize=1024)
def moments(a: float, b: float) -> tuple[float, float]:
    """The mean and the standard deviation of the standard normal, given that it is in ``[a, b]``.

    With Z = I(b) - I(a) and e(x) = exp(-x²/2) the mean is m = (e(a) - e(b))/Z, and the variance
    1 + (a e(a) - b e(b))/Z - m² (Johnson, Kotz and Balakrishnan 1994, section 13.10.1).

    Raises:
        ArgumentError: as `require_drawable`.
    """
    require_drawable(a, b)
    with localcontext() as context:
        context.prec = _DIGITS
        low, high = map(Decimal, _cut(a, b))
        below, above = ((-x * x / 2).exp() for x in (low, high))
        mass = _integral(high) - _integral(low)
        mean = (below - above) / mass
        variance = 1 + (low * below - high * above) / mass - mean * mean
        return float(mean), float(variance.sqrt())


def require_drawable(a: float, b: float) -> None:
    """Refuse an interval, in standard deviations from the mean, that draws do not resolve.

    A deviate z is inverted with a relative error below 2**-21, and near 0 with an absolute one below
    2**-23 (see `philox`). Where that is more than 2**-11 of the interval, the values would be few,
    and the probability below one of them off by 2**-10 and more.

    Raises:
        ArgumentError: the interval holds less than 2**-90 of the mass, or is too narrow.
    """
    mass = split_mass(a, b)[1]
    if mass < LEAST_MASS:
        raise ArgumentError(
            f"[{a:.6g}, {b:.6g}] standard deviations from the mean hold {mass:.1e} of a normal, "
            f"expected at least {LEAST_MASS:.1e} (within 10.8 std): move the interval nearer to the "
            f"mean or raise std"
        )
    low, high = _cut(a, b)
    least = 2.0**11 * (2.0**-21 * max(abs(low), abs(high)) + 2.0**-23)
    if high - low < least:
        raise ArgumentError(
            f"[{a:.9g}, {b:.9g}] standard deviations from the mean are an interval of "
            f"{b - a:.2g}, expected at least {least:.2g} there, which draws of 32 bits resolve: give "
            f"wider bounds, or Uniform, which differs little from a normal within so narrow ones"
        )


def _cut(a: float, b: float) -> tuple[float, float]:
    return min(max(a, -_END), _END), min(max(b, -_END), _END)


def _integral(x: float | Decimal) -> Decimal:
    """I(x) = exp(-x²/2) (x + x³/3 + x⁵/(3·5) + …).

    Marsaglia, "Evaluating the normal distribution", Journal of Statistical Software, 2004.
    """
    z = Decimal(x)
    square, term, total, odd = z * z, z, z, 1
    while abs(term) > Decimal("1e-130"):
        odd += 2
        term = term * square / odd
        total += term
    return total * (-square / 2).exp()
