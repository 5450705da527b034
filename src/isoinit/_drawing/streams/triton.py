# pyright: basic, reportMissingTypeStubs=false, reportMissingImports=false
# mypy: ignore-errors
# What Triton compiles is not Python to a checker: the types are Triton's own.
"""The numbers of `isoinit._drawing.streams.philox`, with the same bits, on a GPU by Triton.

A program makes one block of 1024 elements: 256 counters at a time, and one contiguous store for
each of the four words. Element indices are 64 bits wide.

Why the bits are the same: additions, multiplications, square root, division and conversions are
rounded to nearest even by IEEE 754, subnormals are kept (some versions flush them in square root and
division, which see none here), and every fused multiply-add is written out. `_OPTIONS` forbids the
compiler to fuse others.
"""

from typing import Any

import triton
import triton.language as tl

from isoinit._drawing.streams import philox
from isoinit._drawing.streams.philox import Key, Law

if philox.DEFINITION != 1:
    raise ImportError("triton.py implements another definition than philox.py")
# Before 3.4 the annotation float64 says nothing, and a kernel gets its numbers in single precision.
if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 4):
    raise ImportError(f"triton.py needs Triton 3.4, found {triton.__version__}")

# What a kernel reads from outside has to be a constexpr.
_BLOCK = tl.constexpr(philox.BLOCK)
_LANE = tl.constexpr(philox.LANE)
_M0, _M1 = map(tl.constexpr, philox._MULTIPLIERS)
_W0, _W1 = map(tl.constexpr, philox._WEYL)
_LOG = tl.constexpr(philox.LOG)
_SINE = tl.constexpr(philox.SINE)
_CENTRE = tl.constexpr(philox.CENTRE)
_TAIL = tl.constexpr(philox.TAIL)
_MINUS_TWO_LOG_2 = tl.constexpr(philox.MINUS_TWO_LOG_2)
_SQRT_HALF_BITS = tl.constexpr(philox.SQRT_HALF_BITS)
_ABOVE_SQRT_HALF = tl.constexpr(philox.ABOVE_SQRT_HALF)
_CENTRE_END = tl.constexpr(philox.CENTRE_END)
_CENTRE_MIDDLE = tl.constexpr(philox.CENTRE_MIDDLE)
_TAIL_MIDDLE = tl.constexpr(philox.TAIL_MIDDLE)
_UNIFORM = tl.constexpr(philox.UNIFORM)
_NORMAL = tl.constexpr(philox.NORMAL)
_TRUNCATED = tl.constexpr(philox.TRUNCATED)
_WORDS = tl.constexpr(philox.WORDS)
_ALL = tl.constexpr(philox._WORD)
_SIGN = tl.constexpr(0x80000000)
_QUARTER = tl.constexpr(0x3FFFFFFF)


@triton.jit
def _words(k0, k1, c2, c3, block):
    """The four words of the 256 counters of this program's block, the first one being `block`."""
    # The program's number first: 64 bits from here on.
    position = (tl.program_id(0).to(tl.int64) + block) * _LANE + tl.arange(0, _LANE)
    x0, x1 = position.to(tl.uint32), (position >> 32).to(tl.uint32)
    x2, x3 = tl.cast(c2, tl.uint32), tl.cast(c3, tl.uint32)
    k0, k1 = tl.cast(k0, tl.uint32), tl.cast(k1, tl.uint32)
    for _ in tl.static_range(10):
        high0, low0 = tl.umulhi(x0, _M0), x0 * _M0
        high1, low1 = tl.umulhi(x2, _M1), x2 * _M1
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = k0 + _W0, k1 + _W1
    return x0, x1, x2, x3


@triton.jit
def _polynomial(x, coefficients: tl.constexpr):
    value = coefficients[-1]
    for i in tl.static_range(len(coefficients.value) - 2, -1, -1):
        value = tl.fma(value, x, coefficients[i])
    return value


@triton.jit
def _split(x):
    bits = x.to(tl.int32, bitcast=True) - _SQRT_HALF_BITS
    fraction = ((bits & 0x7FFFFF) + _SQRT_HALF_BITS).to(tl.float32, bitcast=True)
    return (bits >> 23).to(tl.float32), fraction - 1.0


@triton.jit
def _radius(word):
    above = word > _ABOVE_SQRT_HALF
    x = tl.where(above, word ^ _ALL, word).to(tl.float32) + 0.5
    exponent, f = _split(x)
    f = tl.where(above, x * (-(2.0**-32)), f)
    exponent = tl.where(above, 0.0, exponent - 32.0)
    return tl.sqrt_rn(tl.fma(exponent, _MINUS_TWO_LOG_2, f * _polynomial(f, _LOG)))


@triton.jit
def _quarter_sine(word):
    h = tl.fma(word.to(tl.float32), 2.0**-30, 2.0**-31)
    return h * _polynomial(h * h, _SINE)


@triton.jit
def _flip(x, sign):
    # On the bits: Triton's -x is 0 - x, which has no -0.
    return (x.to(tl.uint32, bitcast=True) ^ (sign & _SIGN)).to(tl.float32, bitcast=True)


@triton.jit
def _uniform(word):
    return (word >> 8).to(tl.float32) * 2.0**-24


@triton.jit
def _normal_pair(word, angle):
    radius, quarter = _radius(word), angle & _QUARTER
    across = _flip(radius * _quarter_sine(quarter ^ _QUARTER), angle)
    return across, _flip(radius * _quarter_sine(quarter), angle << 1)


@triton.jit
def _truncated(word, below, above, step, central: tl.constexpr):
    step = tl.cast(step, tl.float32)
    from_low = tl.fma(word.to(tl.float32), step, tl.cast(below, tl.float32))
    from_high = tl.fma((word ^ _ALL).to(tl.float32), step, tl.cast(above, tl.float32))
    lower = from_low < from_high
    s = tl.where(lower, from_low, from_high)
    four = s * -4.0
    exponent, f = _split(tl.fma(four, s, _flip(four, _SIGN)))
    w = 0.5 * tl.fma(exponent, _MINUS_TWO_LOG_2, f * _polynomial(f, _LOG))
    g = _polynomial(w - _CENTRE_MIDDLE, _CENTRE)
    if not central:
        root = tl.sqrt_rn(tl.where(w > 1.0, w, 1.0))
        tail = root * _polynomial(tl.div_rn(1.0, root) - _TAIL_MIDDLE, _TAIL)
        g = tl.where(w <= _CENTRE_END, g, tail)
    x = 1.0 - s - s
    return g * tl.where(lower, _flip(x, _SIGN), x)


@triton.jit
def _finish(deviates, scale, shift, low, high, dtype: tl.constexpr):
    """Scale, keep within the bounds, round once to `dtype`."""
    if dtype == tl.float64:
        values = deviates.to(tl.float64) * scale + shift
    else:
        values = tl.fma(deviates, tl.cast(scale, tl.float32), tl.cast(shift, tl.float32))
        low, high = tl.cast(low, tl.float32), tl.cast(high, tl.float32)
    values = tl.where(values > low, values, low)
    values = tl.where(values < high, values, high)
    if dtype == tl.bfloat16:  # by its bits: not every GPU has the conversion
        bits = values.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return bits.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return values.to(dtype)


@triton.jit
def _store(out, first, count, lane: tl.constexpr, values):
    """Store one lane of this program's block, as far as it lies in the slice."""
    place = tl.program_id(0).to(tl.int64) * _BLOCK + (lane * _LANE + tl.arange(0, _LANE)) - first
    tl.store(out + place, values, (place >= 0) & (place < count))


# Without specialization there is one kernel for a kind and a type, whatever the slice. With it,
# aligned slices would take wider stores, for which values change threads through shared memory;
# a warp's stores are whole lines as they are.
@triton.jit(do_not_specialize="out k0 k1 c2 c3 block first count".split())
def _kernel(
    out,
    k0: tl.uint32,
    k1: tl.uint32,
    c2: tl.uint32,
    c3: tl.uint32,
    block: tl.int64,
    first,
    count: tl.int64,
    scale: tl.float64,
    shift: tl.float64,
    low: tl.float64,
    high: tl.float64,
    below: tl.float64,
    above: tl.float64,
    step: tl.float64,
    kind: tl.constexpr,
    central: tl.constexpr,
):
    """Compiled once for each kind and type of `out`; `first` is where the slice begins in `block`."""
    x0, x1, x2, x3 = _words(k0, k1, c2, c3, block)
    if kind == _UNIFORM:
        x0, x1, x2, x3 = _uniform(x0), _uniform(x1), _uniform(x2), _uniform(x3)
    elif kind == _NORMAL:
        x0, x1 = _normal_pair(x0, x1)
        x2, x3 = _normal_pair(x2, x3)
    elif kind == _TRUNCATED:
        x0 = _truncated(x0, below, above, step, central)
        x1 = _truncated(x1, below, above, step, central)
        x2 = _truncated(x2, below, above, step, central)
        x3 = _truncated(x3, below, above, step, central)
    if kind != _WORDS:
        dtype: tl.constexpr = out.dtype.element_ty
        x0 = _finish(x0, scale, shift, low, high, dtype)
        x1 = _finish(x1, scale, shift, low, high, dtype)
        x2 = _finish(x2, scale, shift, low, high, dtype)
        x3 = _finish(x3, scale, shift, low, high, dtype)
    _store(out, first, count, 0, x0)
    _store(out, first, count, 1, x1)
    _store(out, first, count, 2, x2)
    _store(out, first, count, 3, x3)


_OPTIONS = {
    # By default the compiler makes a * b + c one operation, which rounds once instead of twice.
    "enable_fp_fusion": False,
    "sanitize_overflow": False,  # words wrap around; under TRITON_DEBUG that would be an error
}


def fill(key: Key, law: Law, out: Any, start: int) -> None:
    """Write elements ``start`` to ``start + len(out)`` of a parameter into ``out``.

    ``out`` is a contiguous tensor of one dimension on the current GPU, of float32, float64, float16
    or bfloat16; of uint32 for plain words.
    """
    block, first = divmod(start, philox.BLOCK)
    count = len(out)
    if law.kind == philox.FIXED:
        out.fill_(law.shift)
    elif count:
        central = min(law.below, law.above) > philox.CENTRE_LEAST
        programs = -(-(first + count) // philox.BLOCK)
        _kernel[(programs,)](
            out,
            *key,
            block,
            first,
            count,
            *map(float, law[1:]),
            kind=law.kind,
            central=central,
            **_OPTIONS,
        )
