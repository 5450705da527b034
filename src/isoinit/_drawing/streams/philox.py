# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# NumPy's own types of view, reshape and scalar arithmetic are partly unknown.
"""The definition of every random number in isoinit, in plain NumPy.

The value of element ``e`` of a parameter is a pure function of the parameter's key and ``e``.
Every other backend (`kernels`, `triton`) is tested against this file bit for bit.

**Words.** Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011) turns a 128-bit counter into four 32-bit words. Element ``e`` owns one word: elements come
in blocks of 1024, and a block is laid out lane by lane::

    block = e >> 10     lane = (e >> 8) & 3     counter = block * 256 + (e & 255)

so 256 neighbouring counters write four runs of 256 neighbouring elements: only contiguous loads
and stores, with no shuffle between the four words of a counter. (The other natural layout,
``counter = e >> 2``, needs one for the words and another for Box-Muller; its words alone ran 0.80
times as fast on 256-bit vectors and 0.94 times on 512-bit ones.) The counter holds 64 bits of
position and 64 bits of the parameter's key; the cipher key holds the other 64 bits.

**Deviates.** Every float32 operation is rounded once, to nearest even; fused multiply-adds are
written out; sine, logarithm and inverse normal distribution are the polynomials below; only
division and square root, which IEEE 754 rounds correctly, come from the machine. So the bits are
the same everywhere. The polynomials are weighted minimax fits (a linear program over 300 to 600
Chebyshev nodes, values from 50-digit arithmetic); the coefficients were rounded to float32 one at
a time, lowest first, and the rest fitted again. The error beside each is that of the rounded
coefficients, without the rounding of the evaluation.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint32]
Floats: TypeAlias = NDArray[np.float32]
Key: TypeAlias = tuple[int, int, int, int]
"""The cipher key (two words), then the two constant words of the counter."""

DEFINITION: Final = 1
"""Raise this with any change of bits: a seed then no longer gives the same weights."""

BLOCK: Final = 1024
LANE: Final = BLOCK // 4

_FOUR_WORDS: Final = Struct("<4I")
_MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
_WORD: Final = 0xFFFFFFFF


def philox4x32(counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> list[Words]:
    """Ten rounds of Philox4x32: four uint64 arrays of 32-bit values to four arrays of words.

    >>> [f"{int(word):08x}" for word in philox4x32((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    mask, half = np.uint64(_WORD), np.uint64(32)
    x0, x1, x2, x3 = (np.asarray(word, dtype=np.uint64) for word in counter)
    for turn in range(10):
        k0, k1 = (np.uint64((k + turn * weyl) & _WORD) for k, weyl in zip(key, _WEYL, strict=True))
        p0 = x0 * np.uint64(_MULTIPLIERS[0])
        p1 = x2 * np.uint64(_MULTIPLIERS[1])
        x0, x1, x2, x3 = (p1 >> half) ^ x1 ^ k0, p1 & mask, (p0 >> half) ^ x3 ^ k1, p0 & mask
    return [word.astype(np.uint32) for word in (x0, x1, x2, x3)]


def block_words(key: Key, first: int, count: int) -> Words:
    """The words of whole blocks, shape ``(count, 4, 256)``: flat, they are in element order."""
    position = np.arange(first * LANE, (first + count) * LANE, dtype=np.uint64)
    low, high = position & np.uint64(_WORD), position >> np.uint64(32)
    lanes = philox4x32((low, high, key[2], key[3]), key[:2])
    return np.stack([lane.reshape(count, LANE) for lane in lanes], axis=1)


def fma32(a: Any, b: Any, c: Any) -> Floats:
    """``a * b + c`` of finite float32 values, rounded once.

    The product of two float32 is exact in float64. The sum is rounded to odd there (TwoSum, Knuth
    1969, finds the error), so that rounding it again to float32 is as good as rounding once
    (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
    """
    product = np.multiply(a, b, dtype=np.float64)
    total = product + c
    part = total - product
    error = (product - (total - part)) + (c - part)
    bits = np.asarray(total).view(np.int64)
    odd = (bits - ((error > 0) != (total > 0))) | 1  # of the two neighbours, the odd one
    rounded: Floats = np.where(error != 0, odd, bits).view(np.float64).astype(np.float32)
    return rounded


def _polynomial(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    """Horner's rule, lowest coefficient first."""
    value = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = fma32(value, x, np.float32(coefficient))
    return value


# -2 log(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1]; -2 log(u) to 1.4e-7 relative.
LOG: Final = (
    -1.9999997615814209,
    1.0000053644180298,
    -0.6667315959930420,
    0.4994572103023529,
    -0.3972852230072021,
    0.3439274430274963,
    -0.3289662599563599,
    0.2100654691457748,
)
MINUS_TWO_LOG_2: Final = -1.3862943611198906
SQRT_HALF_BITS: Final = 0x3F3504F3
ABOVE_SQRT_HALF: Final = 3037000499  # floor(sqrt(1/2) * 2**32)

# sin(pi/2 h) / h in h**2, 0 <= h <= 1; 2.9e-8 relative.
SINE: Final = (
    1.5707963705062866,
    -0.6459650993347168,
    0.0796959325671196,
    -0.0046831043437123,
    0.0001559292286402,
)

# The inverse normal distribution as z = (2s - 1) g(w), w = -log(4 s (1 - s)), the form of Giles
# ("Approximating the erfinv function", GPU Computing Gems, 2011, table 10.2).
# Centre: g in w - 2.625 for w <= 5.25 (|z| < 3.008); 1.4e-7 relative.
CENTRE: Final = (
    2.1668181419372559,
    0.3472452759742737,
    -0.0065439390018582,
    -0.0016202251426876,
    0.0003038095310330,
    -9.54543793341145e-06,
    -4.434376933204476e-06,
    4.988124260307814e-07,
    2.858291736629326e-08,
)
CENTRE_END: Final = 5.25
CENTRE_MIDDLE: Final = 2.625
CENTRE_LEAST: Final = 0.00132  # a probability from here to 1/2 has w < 5.25
# Tail: g / sqrt(w) in 1 / sqrt(w) - 0.28 up to |z| = 11.3; 4.4e-7 relative.
TAIL: Final = (
    1.3492844104766846,
    -0.2713472843170166,
    0.1838508844375610,
    0.8217600584030151,
    1.3820075988769531,
    15.0511350631713867,
    9.1063776016235352,
    -151.4340515136718750,
    -338.2825927734375000,
)
TAIL_MIDDLE: Final = 0.28


def _minus_two_log(x: Floats) -> tuple[Floats, Floats]:
    """``x = 2**k (1 + f)``: returns ``k`` and ``-2 log(1 + f)``; ``x`` is normal and positive."""
    bits = x.view(np.int32) - np.int32(SQRT_HALF_BITS)
    exponent = (bits >> np.int32(23)).astype(np.float32)
    fraction = ((bits & np.int32(0x7FFFFF)) + np.int32(SQRT_HALF_BITS)).view(np.float32)
    f = fraction - np.float32(1)
    return exponent, f * _polynomial(f, LOG)


def uniform(words: Words) -> Floats:
    """The top 24 bits of a word, in [0, 1)."""
    deviates: Floats = (words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    return deviates


def _radius(words: Words) -> Floats:
    """``sqrt(-2 log u)`` of ``u = (word + 1/2) / 2**32``: from 1.5e-5 to 6.76, and never 0 or inf.

    Above sqrt(1/2) the logarithm is that of ``1 - v``, ``v = (~word + 1/2) / 2**32``, so that both
    ends keep the word's 32 bits.
    """
    above = words > np.uint32(ABOVE_SQRT_HALF)
    x = np.where(above, ~words, words).astype(np.float32) + np.float32(0.5)
    exponent, below = _minus_two_log(x)
    v = x * np.float32(-(2**-32))
    squared = np.where(
        above,
        v * _polynomial(v, LOG),
        fma32(exponent - np.float32(32), np.float32(MINUS_TWO_LOG_2), below),
    )
    radius: Floats = np.sqrt(squared)
    return radius


def _quarter_sine(words: Words) -> Floats:
    """``sin(pi/2 h)`` of ``h = (word + 1/2) / 2**30``, words of 30 bits."""
    h = fma32(words.astype(np.float32), np.float32(2**-30), np.float32(2**-31))
    return h * _polynomial(h * h, SINE)


def normal(words: Words) -> Floats:
    """Standard normals by Box and Muller (1958) from whole blocks, shape ``(n, 4, 256)``.

    Lanes 0 and 2 give the radius, lanes 1 and 3 the angle: its top two bits are the signs and the
    other 30 the angle in the quarter turn, exactly; the cosine is the sine of the complement, so
    both keep their relative precision near 0.
    """
    radius, angle = _radius(words[:, 0::2]), words[:, 1::2]
    quarter, sign = angle & np.uint32(0x3FFFFFFF), np.uint32(0x80000000)
    across = radius * _quarter_sine(quarter ^ np.uint32(0x3FFFFFFF))
    up = radius * _quarter_sine(quarter)
    pair = (
        across.view(np.uint32) ^ (angle & sign),
        up.view(np.uint32) ^ ((angle << np.uint32(1)) & sign),
    )
    return np.stack(pair, axis=2).reshape(words.shape).view(np.float32)


def truncated_normal(words: Words, below: float, above: float, step: float) -> Floats:
    """Standard normals between two bounds, by inversion.

    ``below`` is the probability under the lower bound and ``above`` that over the upper one, each
    plus ``step / 2``, and ``step`` is the mass between them over ``2**32``. Counted from either
    end the probability keeps its relative precision there; the smaller of the two is inverted.
    """
    from_low = fma32(words.astype(np.float32), np.float32(step), np.float32(below))
    from_high = fma32((~words).astype(np.float32), np.float32(step), np.float32(above))
    s = np.minimum(from_low, from_high)
    four = s * np.float32(-4)
    exponent, rest = _minus_two_log(fma32(four, s, -four))  # 4 s (1 - s)
    w: Floats = np.float32(0.5) * fma32(exponent, np.float32(MINUS_TWO_LOG_2), rest)
    centre = _polynomial(w - np.float32(CENTRE_MIDDLE), CENTRE)
    root = np.sqrt(np.maximum(w, np.float32(1)))  # the tail begins at 5.25; 1 keeps it finite
    tail = root * _polynomial(np.float32(1) / root - np.float32(TAIL_MIDDLE), TAIL)
    g = np.where(w <= np.float32(CENTRE_END), centre, tail)
    x: Floats = np.float32(1) - s - s
    deviates: Floats = g * np.where(from_low < from_high, -x, x)
    return deviates


UNIFORM: Final = 0
NORMAL: Final = 1
TRUNCATED: Final = 2
WORDS: Final = 3
FIXED: Final = 4


class Law(NamedTuple):
    """What to draw: ``scale * deviate + shift``, kept within ``low`` and ``high``; or plain words.

    The deviate of what is fixed is -0, which added to anything leaves it as it is. The last three
    are those of `truncated_normal`.
    """

    kind: int
    scale: float
    shift: float
    low: float
    high: float
    below: float = 0.0
    above: float = 0.0
    step: float = 0.0


def bfloat16_bits(values: Floats) -> NDArray[np.uint16]:
    """Round to nearest even; no NaN is expected."""
    bits = values.view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded: NDArray[np.uint16] = (bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    return rounded.astype(np.uint16)


class Jobs(NamedTuple):
    """Whole parameters to fill: the key, distribution, address and number of elements of each."""

    keys: Sequence[bytes]
    laws: Sequence[Law]
    addresses: Sequence[int]
    sizes: Sequence[int]


def finish(deviates: Floats, law: Law, out: NDArray[Any]) -> None:
    """Scale, keep within the bounds, round once into ``out``.

    In float64 the product and the sum are each rounded: NumPy has no float64 fma.
    """
    if out.dtype == np.float64:
        values: Any = deviates.astype(np.float64) * law.scale + law.shift
    else:
        values = fma32(deviates, np.float32(law.scale), np.float32(law.shift))
    low, high = values.dtype.type(law.low), values.dtype.type(law.high)
    values = np.where(values > low, values, low)
    values = np.where(values < high, values, high)
    out[:] = bfloat16_bits(values) if out.dtype == np.uint16 else values


def subsets(words: Words, size: int) -> None:
    """Turn each row of ``words``, shape ``(rows, count)``, into different numbers below ``size``.

    Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", Communications of the ACM, 1987)
    makes each subset of ``count`` numbers as likely, in an order that is not: number ``t`` is uniform
    over ``0`` to ``size - count + t``, or that last one if it was chosen before. A word is brought
    to a range by multiplication and shift, which moves no chance by more than 2**-32.
    """
    rows, count = words.shape
    row, chosen = np.arange(rows), np.zeros((rows, size), np.bool_)
    for t in range(count):
        last = size - count + t
        number = (words[:, t].astype(np.uint64) * np.uint64(last + 1)) >> np.uint64(32)
        number = np.where(chosen[row, number], np.uint64(last), number)
        chosen[row, number] = True
        words[:, t] = number


def _deviates(words: Words, law: Law) -> Floats:
    if law.kind == UNIFORM:
        return uniform(words)
    if law.kind == NORMAL:
        return normal(words)
    return truncated_normal(words, law.below, law.above, law.step)


def fill(key: Key, law: Law, out: NDArray[Any], start: int) -> None:
    """Write elements ``start`` to ``start + out.size`` of a parameter into ``out``."""
    if law.kind == FIXED:
        one = np.empty(1, out.dtype)
        finish(np.full(1, -0.0, np.float32), law, one)
        out[:] = one
        return
    stop, several = start + out.size, 16 * BLOCK  # temporaries that stay in the cache
    for begin in range(start - start % BLOCK, stop, several):
        count = -(-(min(begin + several, stop) - begin) // BLOCK)
        words = block_words(key, begin // BLOCK, count)
        first, last = max(start, begin), min(stop, begin + count * BLOCK)
        inside, here = slice(first - begin, last - begin), out[first - start : last - start]
        if law.kind == WORDS:
            here[:] = words.reshape(-1)[inside]
        else:
            finish(_deviates(words, law).reshape(-1)[inside], law, here)


def fill_runs(
    key: Key,
    law: Law,
    out: NDArray[Any],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> None:
    """Write runs of a parameter's elements, one behind the other, into ``out``."""
    done = 0
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        fill(key, law, out[done : done + length], start)
        done += length


def fill_together(jobs: Jobs, dtype: np.dtype[Any]) -> None:
    """Do the jobs one after another; ``dtype`` is that of all their memory."""
    for key, law, out in each(jobs, dtype):
        fill(key, law, out, 0)


def key_words(key: bytes) -> Key:
    """The four words of 16 bytes, lowest first."""
    k0, k1, c2, c3 = _FOUR_WORDS.unpack(key)
    return k0, k1, c2, c3


def each(jobs: Jobs, dtype: np.dtype[Any]) -> Iterator[tuple[Key, Law, NDArray[Any]]]:
    """Give the jobs one after another, with their memory as an array."""
    columns = zip(jobs.keys, jobs.laws, jobs.addresses, jobs.sizes, strict=True)
    for key, law, address, size in columns:
        raw: Any = (ctypes.c_char * (size * dtype.itemsize)).from_address(address)
        yield key_words(key), law, np.asarray(np.frombuffer(raw, dtype))
