"""The distributions of single elements, checked, with bounds that the dtype can hold."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from isoinit._drawing.streams.philox import FIXED, NORMAL, TRUNCATED, UNIFORM, Law
from isoinit._drawing.streams.philox import truncated_normal as truncated_normal_deviates
from isoinit._drawing.streams.truncation import moments, split_mass
from isoinit.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORMAL_MOST: Final = 6.7638
"""No normal deviate is larger: sqrt(-2 log(2**-33)), of the least word, is 6.76375 (`philox`)."""

_SLACK: Final = 1 + 2.0**-20  # the inverse normal distribution is off by less, relative


def fixed(value: float, dtype: np.dtype[Any]) -> Law:
    """The same value for every element, for arrays of a type; uint16 stands for bfloat16.

    Raises:
        ArgumentError: the value is too large for the type, or not 0 and rounded to 0 in it.
    """
    # Not cached, for -0 would be taken for 0.
    require_range(abs(value), dtype)
    least = _FORMATS[dtype].step(0.0)
    if 0.0 < abs(value) <= least / 2:
        raise ArgumentError(
            f"value is {value:.3g}, which {_name(dtype)} rounds to 0 (its least is {least:.2g}): "
            f"choose 0, a larger one or a wider dtype"
        )
    return Law(FIXED, 1.0, value, -math.inf, math.inf)


@lru_cache(maxsize=1024)
def normal(mean: float, std: float, dtype: np.dtype[Any]) -> Law:
    """Normal, for arrays of a type; uint16 stands for bfloat16.

    Raises:
        ArgumentError: ``std`` is negative, ``mean`` or ``std`` is not finite, or the type cannot hold
            the farthest draw, or tell the draws apart (`require_range`, `require_spread`).
    """
    _check_moments(mean, std)
    law = Law(NORMAL, std, mean, -math.inf, math.inf)
    if std == 0.0:
        fixed(mean, dtype)
    else:
        require_range(largest(law), dtype)
        require_spread(std, dtype, mean)
    return law


@lru_cache(maxsize=1024)
def uniform(low: float, high: float, dtype: np.dtype[Any]) -> Law:
    """Uniform on ``[low, high)``, for arrays of a type; uint16 stands for bfloat16.

    Raises:
        ArgumentError: ``low >= high``, a bound that is not finite, no value of the type between
            them, or a type that cannot hold them, or tell the draws apart.
    """
    if not (abs(low) <= _GREATEST and abs(high) <= _GREATEST and high - low <= _GREATEST):
        raise ArgumentError(
            f"low is {low} and high {high}, expected both and their difference to be finite in "
            f"float32: give two finite bounds"
        )
    law = Law(UNIFORM, high - low, low, *_within(low, high, dtype, closed=False))
    require_range(largest(law), dtype)
    require_spread((high - low) / math.sqrt(12), dtype, low + (high - low) / 2)
    return law


@lru_cache(maxsize=1024)
def truncated_normal(mean: float, std: float, low: float, high: float, dtype: np.dtype[Any]) -> Law:
    """Normal, conditioned on ``[low, high]``, for arrays of a type.

    Raises:
        ArgumentError: as `uniform` and `normal`, or ``std`` is 0, or as `require_drawable`.
    """
    _check_moments(mean, std)
    if std == 0.0:
        raise ArgumentError("std is 0, expected a positive one: a constant needs no distribution")
    least, greatest = _within(low, high, dtype, closed=True)
    bounds = (low - mean) / std, (high - mean) / std
    middle, spread = moments(*bounds)
    below, mass, above = split_mass(*bounds)
    half = math.ldexp(mass, -33)
    law = Law(TRUNCATED, std, mean, low, high, below + half, above + half, 2 * half)
    require_range(largest(law), dtype)
    require_spread(std * spread, dtype, mean + std * middle)
    return law._replace(low=least, high=greatest)


def largest(law: Law) -> float:
    """A bound of the magnitude of all draws of a distribution, before rounding."""
    if law.kind == FIXED:
        return abs(law.shift)
    if law.kind == UNIFORM:
        return max(abs(law.shift), abs(law.shift + law.scale))
    ends = [-NORMAL_MOST, NORMAL_MOST]
    if law.kind == TRUNCATED:
        words = np.array([0, 2**32 - 1], np.uint32)
        deviates = truncated_normal_deviates(words, law.below, law.above, law.step)
        ends = [_SLACK * float(z) for z in deviates]
    return max(abs(min(max(law.shift + law.scale * z, law.low), law.high)) for z in ends)


def require_range(most: float, dtype: np.dtype[Any]) -> None:
    """Refuse values of a magnitude up to ``most`` where they are too large for a type.

    Raises:
        ArgumentError: they are.
    """
    greatest = _FORMATS[dtype].greatest
    if not most <= greatest:
        raise ArgumentError(
            f"values reach {most:.6g} in magnitude, expected at most {greatest:.6g} for "
            f"{_name(dtype)}: choose a smaller one or a wider dtype"
        )


def require_spread(std: float, dtype: np.dtype[Any], mean: float = 0.0) -> None:
    """Raise for values that a dtype cannot distinguish, since nearly all are rounded to one.

    Of normal values one in 22 is rounded to a neighbour of the mean where the values of the type are
    4 std apart, one in 16,000 where they are 8 std apart.

    Raises:
        ArgumentError: they are more than 4 std apart.
    """
    step = _FORMATS[dtype].step(mean)
    if 0.0 < 4 * std < step:
        raise ArgumentError(
            f"values have a mean of {mean:.3g} and a std of {std:.3g}, where those of {_name(dtype)} "
            f"are {step:.3g} apart, so that nearly all would be rounded to one: choose a larger std "
            f"or a finer dtype"
        )


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

    def step(self, x: float) -> float:
        """How far apart values are from ``x`` outwards; at 0, the least one above it."""
        exponent = math.frexp(x)[1] if x else -math.inf
        return math.ldexp(1.0, int(max(exponent - self.precision, self.least)))

    def floor(self, x: float) -> float:
        """The greatest value that is not above ``x``."""
        return -self.ceil(-x)


_FORMATS: Final[dict[np.dtype[Any], _Format]] = {
    np.dtype(np.float32): _Format(24, -149, 127),
    np.dtype(np.float64): _Format(53, -1074, 1023),
    np.dtype(np.float16): _Format(11, -24, 15),
    np.dtype(np.uint16): _Format(8, -133, 127),
}
_GREATEST: Final = _FORMATS[np.dtype(np.float32)].greatest


def _name(dtype: np.dtype[Any]) -> str:
    return "bfloat16" if dtype == np.uint16 else str(dtype)


_NAMED: Final = {_name(dtype): dtype for dtype in _FORMATS} | {
    name: np.dtype(name) for name in ("complex64", "complex128")
}


def dtype_named(name: str) -> np.dtype[Any] | None:
    """Return the type of the arrays that stand for parameters of a type; None if it is never drawn.

    >>> dtype_named("bfloat16"), dtype_named("complex64"), dtype_named("int8")
    (dtype('uint16'), dtype('complex64'), None)
    """
    return _NAMED.get(name)


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
