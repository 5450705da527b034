"""Laws: what is drawn for an element, checked, with bounds that its type can hold."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from isoinit._drawing.streams.philox import FIXED, NORMAL, TRUNCATED, UNIFORM, Law
from isoinit.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_MASS: Final = 2.0**-90
"""Of a truncated normal, 10.8 σ out: times 2**-33 it is still a normal float32."""


def fixed(value: float, dtype: np.dtype[Any]) -> Law:
    """The same value for every element, for arrays of a type; uint16 stands for bfloat16.

    Raises:
        ArgumentError: the value is too large for the type.
    """
    # Not cached, for -0 would be taken for 0.
    greatest = _FORMATS[dtype].greatest
    if not abs(value) <= greatest:
        raise ArgumentError(
            f"value is {value}, expected at most {greatest:.3g} in magnitude for {_name(dtype)}: "
            f"choose a smaller one or a wider dtype"
        )
    return Law(FIXED, 1.0, value, -math.inf, math.inf)


@lru_cache(maxsize=1024)
def normal(mean: float, std: float) -> Law:
    """Normal.

    Raises:
        ArgumentError: ``std`` is negative, or ``mean`` or ``std`` is not finite.
    """
    _check_moments(mean, std)
    return Law(NORMAL, std, mean, -math.inf, math.inf)


@lru_cache(maxsize=1024)
def uniform(low: float, high: float, dtype: np.dtype[Any]) -> Law:
    """Uniform on ``[low, high)``, for arrays of a type; uint16 stands for bfloat16.

    Raises:
        ArgumentError: ``low >= high``, a bound that is not finite, or no value of the type between
            them.
    """
    if not (abs(low) <= _GREATEST and abs(high) <= _GREATEST and high - low <= _GREATEST):
        raise ArgumentError(
            f"low is {low} and high {high}, expected both and their difference to be finite in "
            f"float32: give two finite bounds"
        )
    return Law(UNIFORM, high - low, low, *_within(low, high, dtype, closed=False))


@lru_cache(maxsize=1024)
def truncated_normal(mean: float, std: float, low: float, high: float, dtype: np.dtype[Any]) -> Law:
    """Normal, conditioned on ``[low, high]``, for arrays of a type.

    Raises:
        ArgumentError: as `uniform` and `normal`, or ``std`` is 0, or the interval holds less than
            2**-90 of the normal's mass (further out than 10.8 standard deviations).
    """
    _check_moments(mean, std)
    if std == 0.0:
        raise ArgumentError("std is 0, expected a positive one: a constant needs no distribution")
    least, greatest = _within(low, high, dtype, closed=True)
    below, mass, above = _split_mass((low - mean) / std, (high - mean) / std)
    if mass < _LEAST_MASS:
        raise ArgumentError(
            f"[{low}, {high}] holds {mass:.1e} of a normal with mean {mean} and std {std}, "
            f"expected at least {_LEAST_MASS:.1e} (within 10.8 std): move the interval nearer to "
            f"the mean or raise std"
        )
    half = math.ldexp(mass, -33)
    return Law(TRUNCATED, std, mean, least, greatest, below + half, above + half, 2 * half)


def _check_moments(mean: float, std: float) -> None:
    if not (abs(mean) <= _GREATEST and 0.0 <= std <= _GREATEST):
        raise ArgumentError(
            f"mean is {mean} and std {std}, expected a std of at least 0 and both finite in "
            f"float32: check what the two were computed from"
        )


def _within(low: float, high: float, dtype: np.dtype[Any], *, closed: bool) -> tuple[float, float]:
    """The least and the greatest value of the type in ``[low, high]``, or in ``[low, high)``."""
    if not low < high:
        raise ArgumentError(f"low is {low} and high {high}, expected low < high: swap or part them")
    kind = _FORMATS[dtype]
    least = kind.ceil(low)
    greatest = kind.floor(high if closed else math.nextafter(high, -math.inf))
    if least > greatest:
        raise ArgumentError(
            f"no {_name(dtype)} value lies between low = {low} and high = {high}: widen the interval "
            f"or use a finer dtype"
        )
    return least, greatest


@lru_cache(maxsize=1024)
def _split_mass(a: float, b: float) -> tuple[float, float, float]:
    """The standard normal's mass below ``a``, from ``a`` to ``b``, and above ``b``."""
    # Beyond 14 σ nothing is left in float32: 1 - Φ(14) = 8e-45.
    a, b = (min(max(x, -14.0), 14.0) for x in (a, b))
    with localcontext() as context:
        context.prec = 100
        lower, upper = _distribution(a), _distribution(b)
        return float(lower), float(upper - lower), float(1 - upper)


def _distribution(x: float) -> Decimal:
    """Φ(x) = 1/2 + φ(x) (x + x³/3 + x⁵/(3·5) + …).

    Marsaglia, "Evaluating the normal distribution", Journal of Statistical Software, 2004. In
    decimal arithmetic, because the last bit of ``math.erfc`` differs between C libraries.
    """
    z = Decimal(x)
    square, term, total, odd = z * z, z, z, 1
    while abs(term) > Decimal("1e-90"):
        odd += 2
        term = term * square / odd
        total += term
    two_pi = Decimal(
        "6.283185307179586476925286766559005768394338798750211641949889184615632812572"
    )
    return Decimal("0.5") + total * (-square / 2).exp() / two_pi.sqrt()


class _Format:
    """The finite values of a binary floating-point type: multiples of a power of two."""

    def __init__(self, precision: int, least: int, top: int) -> None:
        self.precision = precision
        self.least = least
        self.greatest = math.ldexp(2.0 - 2.0 ** (1 - precision), top)

    def ceil(self, x: float) -> float:
        """The smallest value that is not below ``x``; an infinity is itself."""
        if math.isinf(x):
            return x
        unit = max(math.frexp(x)[1] - self.precision, self.least)
        # Two steps, for neither 2**unit nor x / 2**unit need be a normal float64.
        value = math.ldexp(math.ceil(math.ldexp(x, -unit)), unit)
        return max(value, -self.greatest) if value <= self.greatest else math.inf

    def floor(self, x: float) -> float:
        """The greatest value that is not above ``x``."""
        return -self.ceil(-x)


_FORMATS: Final = {
    np.dtype(np.float32): _Format(24, -149, 127),
    np.dtype(np.float64): _Format(53, -1074, 1023),
    np.dtype(np.float16): _Format(11, -24, 15),
    np.dtype(np.uint16): _Format(8, -133, 127),
}
_GREATEST: Final = _FORMATS[np.dtype(np.float32)].greatest


def _name(dtype: np.dtype[Any]) -> str:
    return "bfloat16" if dtype == np.uint16 else str(dtype)


def dtype_of(out: NDArray[Any]) -> np.dtype[Any]:
    """The type of an array that may be filled.

    Raises:
        TypeError: ``out`` is not such an array as `Stream` describes.
    """
    if not isinstance(out, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"out is a {type(out).__name__}: pass a numpy.ndarray to write into")
    if out.dtype not in _FORMATS:
        raise TypeError(
            f"out has dtype {out.dtype}, expected float32, float64, float16, or uint16 for the "
            f"bits of bfloat16: fill one of these and convert"
        )
    if out.ndim != 1 or not out.flags.c_contiguous or not out.flags.writeable:
        raise TypeError(
            f"out has shape {out.shape}, strides {out.strides} and writeable="
            f"{out.flags.writeable}, expected a writable contiguous array of one dimension: pass "
            f"array.reshape(-1) of a C-contiguous array"
        )
    return out.dtype
