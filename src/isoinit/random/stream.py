"""`Stream`: the random numbers of one parameter."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from isoinit.engine import Engine
from isoinit.errors import ArgumentError
from isoinit.random import philox
from isoinit.random.philox import NORMAL, TRUNCATED, UNIFORM, WORDS, Key, Law

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOUR_WORDS: Final = Struct("<4I")
_engine: Final = Engine(philox, "isoinit.random.kernels")

_LEAST_MASS: Final = 2.0**-90
"""Of a truncated normal, 10.8 σ out: times 2**-33 it is still a normal float32."""


@dataclass(frozen=True)
class Stream:
    """The random numbers of one parameter: element ``e`` is a pure function of stream and ``e``.

    Every ``fill`` method writes elements ``start`` to ``start + out.size`` into ``out``, a writable
    one-dimensional C-contiguous array of float32, float64, float16, or **uint16, which stands for
    the bits of bfloat16**. ``start`` counts in the flat C order of the *whole* parameter, so any
    slice of it, on any machine and any number of threads, gets the same bits.

    float32, float16 and bfloat16 values are drawn and scaled in float32 and rounded once, to
    nearest even. A float64 value is the same float32 standard deviate scaled in float64: a model
    in double precision starts from the weights of its single-precision twin, up to the last
    float32 bit.

    Bounds are exact in the type of ``out``: a value that rounding carries beyond a bound becomes
    the nearest representable value within. That moves at most half a rounding cell, so the last
    value's share is at most one and a half cells however coarse the type, and the mean stays
    unbiased, which rounding toward zero or down would not give.

    Args:
        seed: Any integer, also a negative one.
        name: The parameter's name.
        purpose: What the numbers are for; see `child`.

    >>> weight = np.empty(4, dtype=np.float32)
    >>> Stream(seed=0, name="layer.weight").normal(weight, std=0.02)
    >>> tail = np.empty(2, dtype=np.float32)
    >>> Stream(seed=0, name="layer.weight").normal(tail, start=2, std=0.02)
    >>> bool((weight[2:] == tail).all())
    True
    """

    seed: int
    name: str
    purpose: str = ""

    def child(self, purpose: str) -> Stream:
        """An independent stream for another purpose of the same parameter: a mask, noise.

        Purposes nest like folders: ``child("a").child("b")`` is ``child("a/b")``.
        """
        if not purpose:
            raise ArgumentError("purpose is empty: name what the child stream is for")
        return replace(self, purpose=f"{self.purpose}/{purpose}" if self.purpose else purpose)

    def words(self, start: int, count: int) -> NDArray[np.uint32]:
        """The random words of elements ``start`` to ``start + count``, shape ``(count,)``."""
        _check_range(start, count)
        out = np.empty(count, dtype=np.uint32)
        self._fill(out, start, Law(WORDS, 1.0, 0.0, -math.inf, math.inf))
        return out

    def subsets(self, rows: int, size: int, count: int) -> NDArray[np.uint32]:
        """``count`` different numbers below ``size`` for each row, every set of them as likely.

        Row ``r`` is made of the words of elements ``r * count`` to ``(r + 1) * count``. The order
        within a row is not random. Shape ``(rows, count)``.

        Raises:
            ArgumentError: ``count`` is not within 0 and ``size``, or ``size`` not below 2**32.
        """
        if not 0 <= count <= size < 2**32:
            raise ArgumentError(
                f"count is {count} and size {size}, expected 0 <= count <= size < 2**32: choose no "
                f"more numbers than there are"
            )
        words = self.words(0, rows * count).reshape(rows, count)
        work = count * max(rows, 1000)  # the definition goes through all rows at once
        _engine.pick("subsets", work).subsets(words, size)
        return words

    def uniform(
        self, out: NDArray[Any], start: int = 0, low: float = 0.0, high: float = 1.0
    ) -> None:
        """Fill ``out`` with uniform numbers in ``[low, high)``.

        Raises:
            ArgumentError: ``low >= high``, a bound that is not finite, or no value of the type of
                ``out`` between them.
            TypeError: ``out`` is not such an array as the class describes.
        """
        self._fill(out, start, _uniform_law(low, high, _checked(out)))

    def normal(
        self, out: NDArray[Any], start: int = 0, mean: float = 0.0, std: float = 1.0
    ) -> None:
        """Fill ``out`` with normal numbers; the farthest lie 6.76 standard deviations out.

        Raises:
            ArgumentError: ``std`` is negative, or ``mean`` or ``std`` is not finite.
            TypeError: ``out`` is not such an array as the class describes.
        """
        _check_moments(mean, std)
        _checked(out)
        self._fill(out, start, Law(NORMAL, std, mean, -math.inf, math.inf))

    def truncated_normal(
        self,
        out: NDArray[Any],
        start: int = 0,
        mean: float = 0.0,
        std: float = 1.0,
        low: float = -2.0,
        high: float = 2.0,
    ) -> None:
        """Fill ``out`` with normal numbers conditioned on ``[low, high]``.

        The bounds are absolute, as in ``torch.nn.init.trunc_normal_``; either may be infinite.
        ``mean`` and ``std`` are those of the normal before truncation.

        Raises:
            ArgumentError: as `uniform` and `normal`, or ``std`` is 0, or the interval holds less
                than 2**-90 of the normal's mass (further out than 10.8 standard deviations).
            TypeError: ``out`` is not such an array as the class describes.
        """
        self._fill(out, start, _truncated_law(mean, std, low, high, _checked(out)))

    def _key(self) -> Key:
        """Seed, name and purpose, each behind its length, to 128 bits."""
        texts = (hex(operator.index(self.seed)), self.name, self.purpose)
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        message = b"".join([len(part).to_bytes(8, "little") + part for part in parts])
        digest = blake2b(message, digest_size=16, person=b"isoinit").digest()
        k0, k1, c2, c3 = _FOUR_WORDS.unpack(digest)
        return k0, k1, c2, c3

    def _fill(self, out: NDArray[Any], start: int, law: Law) -> None:
        _check_range(start, out.size)
        work = max(out.size, 4 * philox.BLOCK)  # the least that a fill costs
        _engine.pick(out.dtype, work).fill(self._key(), law, out, start)


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


def _checked(out: NDArray[Any]) -> np.dtype[Any]:
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


def _check_range(start: int, count: int) -> None:
    if start < 0 or count < 0 or start + count > 2**62:
        raise ArgumentError(
            f"start is {start} and the number of elements {count}, expected an index from 0 "
            f"that stays below 2**62: count from the parameter's first element"
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
        name = "bfloat16" if dtype == np.uint16 else str(dtype)
        raise ArgumentError(
            f"no {name} value lies between low = {low} and high = {high}: widen the interval or "
            f"use a finer dtype"
        )
    return least, greatest


@lru_cache(maxsize=1024)
def _uniform_law(low: float, high: float, dtype: np.dtype[Any]) -> Law:
    if not (abs(low) <= _GREATEST and abs(high) <= _GREATEST and high - low <= _GREATEST):
        raise ArgumentError(
            f"low is {low} and high {high}, expected both and their difference to be finite in "
            f"float32: give two finite bounds"
        )
    return Law(UNIFORM, high - low, low, *_within(low, high, dtype, closed=False))


@lru_cache(maxsize=1024)
def _truncated_law(mean: float, std: float, low: float, high: float, dtype: np.dtype[Any]) -> Law:
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
