"""The numbers of `isoinit._drawing.streams.philox`, with the same bits, as a JAX computation.

An element is computed from its own index alone. The two normals of a pair could share half of their
work, and the four words of a counter three quarters of it; but then elements would have to change
places. This way every operation is elementwise and indices come from iotas, so that a compiler can
split the computation over devices however it likes.

So bits are the same wherever `isoinit.jax.arithmetic` is, which `isoinit.jax.rehearsal` checks on a
device before it is used there. Three things differ from the definition's form and not from its bits:

- 64-bit indices are pairs of 32-bit words, so that JAX's x64 mode makes no difference.
- Subnormal float32 values, which XLA flushes to zero on a processor, do not come up: values are
  scaled near 1, and back as the last step (`keeps_clear_of_subnormals` says where that is no use).
- Above sqrt(1/2) the logarithm takes its own argument, but the same polynomial.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from isoinit._drawing.streams import philox
from isoinit._drawing.streams.philox import CENTRE_LEAST, FIXED, NORMAL, TRUNCATED, UNIFORM, Law
from isoinit.jax.arithmetic import (
    Array,
    bits_of,
    float_of,
    fma,
    multiply,
    opaque,
    polynomial,
    reciprocal,
    signed,
    square_root,
    unsigned,
    zero_of,
)

if philox.DEFINITION != 1:
    raise ImportError("isoinit.jax.philox implements another definition than philox.py")

_u32, _i32, _f32 = np.uint32, np.int32, np.float32
_SIGN: Final = _u32(0x80000000)
_QUARTER: Final = _u32(0x3FFFFFFF)
_FRACTION: Final = _u32(0x7FFFFF)
_LEAST_NORMAL: Final = 2.0**-126
_FAR: Final = 64  # probabilities are 2**-123 and more: 2**64 times that, products keep all bits


class Numbers(NamedTuple):
    """The numbers of a distribution, near 1: data of a compiled computation, which it may vary."""

    scale: Array
    shift: Array
    low: Array
    high: Array
    unit: Array
    below: Array
    above: Array
    step: Array


class Form(NamedTuple):
    """What a computation is compiled for: everything but the key and the numbers.

    Attributes:
        kind: of the distribution.
        dtype: as a plan writes it: "float32", "float64", "float16", "bfloat16".
        shape: of the whole parameter.
        sizes: of the part that is computed.
        shifted: whether something is added to the scaled deviate.
        central: whether a truncated normal needs no tail.
        padding: the index on the first axis that stays zero, or None.
    """

    kind: int
    dtype: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    shifted: bool
    central: bool
    padding: int | None


def form_of(
    law: Law,
    dtype: str,
    shape: tuple[int, ...],
    sizes: tuple[int, ...],
    padding: int | None = None,
) -> Form:
    """Return what to compile: `shape` is that of the whole parameter, `sizes` that of the part."""
    central = law.kind == TRUNCATED and min(law.below, law.above) > CENTRE_LEAST
    return Form(law.kind, dtype, shape, sizes, law.shift != 0, central, padding)


def numbers_of(law: Law, dtype: str) -> Numbers:
    """Return a distribution's numbers: as they are in float64, else over a power of two near `scale`.

    What is fixed is in `shift`, in its type.
    """
    chances = (_f32(math.ldexp(float(_f32(x)), _FAR)) for x in law[5:])
    if law.kind == FIXED:
        bits = np.empty(1, np.uint16 if dtype == "bfloat16" else dtype)
        philox.fill((0, 0, 0, 0), law, bits, 0)
        none = _f32(0)
        return Numbers(none, bits.view(jnp.dtype(dtype))[0], none, none, none, *chances)
    if dtype == "float64":
        scale, shift, low, high = map(np.float64, law[1:5])
        return Numbers(scale, shift, low, high, np.float64(1), *chances)
    power = math.frexp(_f32(law.scale))[1]
    scale, shift = (_f32(np.ldexp(np.float64(_f32(x)), -power)) for x in law[1:3])
    return Numbers(
        scale, shift, _f32(law.low), _f32(law.high), _f32(math.ldexp(1.0, power)), *chances
    )


def computed_in(law: Law, dtype: str) -> np.dtype[Any]:
    """Return a type that holds all numbers of a distribution as they are."""
    return np.dtype(jnp.dtype(dtype) if law.kind == FIXED or dtype == "float64" else np.float32)


def keeps_clear_of_subnormals(law: Law, dtype: str) -> bool:
    """Return whether no value but zero can be a subnormal float32, whatever is drawn."""
    if law.kind == FIXED or dtype == "float64":
        return True
    bounds = [abs(x) for x in law[3:5] if math.isfinite(x)]
    least = {UNIFORM: 2.0**-24, NORMAL: 2.0**-47, TRUNCATED: 2.0**-25}[law.kind]
    if not law.shift:
        sizes = [least * law.scale]
    elif not law.scale:
        sizes = [abs(law.shift)]
    else:  # a sum that cancels is a multiple of its terms' last bits
        ratio = abs(law.shift) / law.scale
        last = 2.0**-24 if law.kind == UNIFORM else 2.0**-25 * max(least, ratio)
        sizes = [abs(law.shift) / 2, ratio / 2, last * 2.0**-24 * law.scale]
    return all(x == 0 or x >= _LEAST_NORMAL for x in [*bounds, *sizes])


def draw(key: Array, numbers: Numbers, starts: tuple[Array, ...], form: Form) -> Array:
    """Return a part of a parameter.

    Args:
        key: the four words of the stream's key, uint32.
        numbers: of the distribution.
        starts: where the part begins along each axis, uint32.
        form: what to compute.
    """
    fixed = form.kind == FIXED
    values = jnp.full(form.sizes, numbers.shift) if fixed else _drawn(key, numbers, starts, form)
    if form.padding is not None:
        row = lax.broadcasted_iota(_u32, form.sizes, 0) + starts[0]
        values = jnp.where(row == _u32(form.padding), jnp.zeros((), values.dtype), values)
    return values


def draw_whole(key: Array, numbers: Array, form: Form) -> Array:
    """Return a whole parameter; the numbers of its distribution are one array."""
    return draw(key, Numbers(*numbers), (_u32(0),) * len(form.shape), form)


def _drawn(key: Array, numbers: Numbers, starts: tuple[Array, ...], form: Form) -> Array:
    element = _elements(form, starts)
    words = _words(key, element)
    lane = (element[0] >> _u32(8)) & _u32(3)
    zero = zero_of(words[0])
    numbers = Numbers(*(opaque(x, zero) for x in numbers))
    if form.kind == NORMAL:
        deviates = _normal(words, lane, zero)
    elif form.kind == UNIFORM:
        deviates = (_one_of(words, lane) >> _u32(8)).astype(_f32) * _f32(2**-24)
    else:
        deviates = _truncated(_one_of(words, lane), numbers, form.central, zero)
    return _finish(deviates, numbers, form, zero)


def _elements(form: Form, starts: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the indices of a part's elements in the whole parameter, as low and high words."""
    low = high = jnp.zeros(form.sizes, _u32)
    for axis, size in enumerate(form.shape):
        index = lax.broadcasted_iota(_u32, form.sizes, axis) + starts[axis].astype(_u32)
        carry, product = multiply(_u32(size & 0xFFFFFFFF), low)
        high = high * _u32(size & 0xFFFFFFFF) + carry + low * _u32(size >> 32)
        low = product + index
        high = high + (low < index).astype(_u32)
    return low, high


def _words(key: Array, element: tuple[Array, Array]) -> tuple[Array, Array, Array, Array]:
    """Return the four words of each element's counter: block * 256 + (element & 255)."""
    low, high = element
    x0 = (((low >> _u32(2)) | (high << _u32(30))) & _u32(0xFFFFFF00)) | (low & _u32(0xFF))
    x1, x2, x3 = high >> _u32(2), key[2], key[3]
    k0, k1 = key[0], key[1]
    for _ in range(10):
        high0, low0 = multiply(_u32(philox._MULTIPLIERS[0]), x0)
        high1, low1 = multiply(_u32(philox._MULTIPLIERS[1]), x2)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = k0 + _u32(philox._WEYL[0]), k1 + _u32(philox._WEYL[1])
    return x0, x1, x2, x3


def _one_of(words: tuple[Array, Array, Array, Array], lane: Array) -> Array:
    front = jnp.where(lane == _u32(0), words[0], words[1])
    back = jnp.where(lane == _u32(2), words[2], words[3])
    return jnp.where(lane < _u32(2), front, back)


# Deviates, as `isoinit._drawing.streams.philox` defines them


def _minus_two_log(x: Array) -> tuple[Array, Array]:
    """Return k and f of x = 2**k (1 + f)."""
    bits = signed(bits_of(x) - _u32(philox.SQRT_HALF_BITS))
    fraction = float_of((unsigned(bits) & _FRACTION) + _u32(philox.SQRT_HALF_BITS))
    return (bits >> _i32(23)).astype(_f32), fraction - _f32(1)


def _logarithm(exponent: Array, f: Array, zero: Array) -> Array:
    """Return -2 log(2**exponent (1 + f))."""
    rest = opaque(f * polynomial(f, philox.LOG, zero), zero)
    return fma(exponent, _f32(philox.MINUS_TWO_LOG_2), rest, zero)


def _radius(word: Array, zero: Array) -> Array:
    above = word > _u32(philox.ABOVE_SQRT_HALF)
    x = jnp.where(above, ~word, word).astype(_f32) + _f32(0.5)
    exponent, f = _minus_two_log(x)
    f = jnp.where(above, x * _f32(-(2**-32)), f)
    exponent = jnp.where(above, _f32(0), exponent - _f32(32))
    return square_root(_logarithm(exponent, f, zero))


def _quarter_sine(word: Array, zero: Array) -> Array:
    h = fma(word.astype(_f32), _f32(2**-30), _f32(2**-31), zero)
    return opaque(h * polynomial(opaque(h * h, zero), philox.SINE, zero), zero)


def _normal(words: tuple[Array, Array, Array, Array], lane: Array, zero: Array) -> Array:
    """Return normals: lanes 0 and 2 take the cosine of their pair's angle, 1 and 3 the sine."""
    front, odd = lane < _u32(2), (lane & _u32(1)) != _u32(0)
    radius = _radius(jnp.where(front, words[0], words[2]), zero)
    angle = jnp.where(front, words[1], words[3])
    quarter = jnp.where(odd, angle, ~angle) & _QUARTER
    size = opaque(radius * _quarter_sine(quarter, zero), zero)
    return float_of(bits_of(size) ^ (jnp.where(odd, angle << _u32(1), angle) & _SIGN))


def _truncated(word: Array, numbers: Numbers, central: bool, zero: Array) -> Array:
    near = _f32(math.ldexp(1.0, -_FAR))
    below, above, step = (x.astype(_f32) for x in (numbers.below, numbers.above, numbers.step))
    from_low = fma(word.astype(_f32), step, below, zero) * near
    from_high = fma((~word).astype(_f32), step, above, zero) * near
    lower = from_low < from_high
    s = jnp.where(lower, from_low, from_high)
    four = s * _f32(-4)
    exponent, f = _minus_two_log(fma(four, s, -four, zero))
    w = _f32(0.5) * _logarithm(exponent, f, zero)
    g = polynomial(w - _f32(philox.CENTRE_MIDDLE), philox.CENTRE, zero)
    if not central:
        root = square_root(jnp.where(w > _f32(1), w, _f32(1)))
        place = reciprocal(root) - _f32(philox.TAIL_MIDDLE)
        tail = opaque(root * polynomial(place, philox.TAIL, zero), zero)
        g = jnp.where(w <= _f32(philox.CENTRE_END), g, tail)
    x = _f32(1) - s - s
    return opaque(g * jnp.where(lower, -x, x), zero)


def _finish(deviates: Array, numbers: Numbers, form: Form, zero: Array) -> Array:
    """Scale, keep within the bounds, round once to the type."""
    if form.dtype == "float64":
        product = deviates.astype(np.float64) * numbers.scale
        values = opaque(product, zero) + numbers.shift
    elif form.shifted:
        values = fma(deviates, numbers.scale, numbers.shift, zero) * numbers.unit
    else:  # the sum keeps a zero's sign as it is in the definition
        values = (opaque(deviates * numbers.scale, zero) + numbers.shift) * numbers.unit
    if form.kind != NORMAL:
        values = jnp.where(values > numbers.low, values, numbers.low)
        values = jnp.where(values < numbers.high, values, numbers.high)
    if form.dtype == "bfloat16":
        bits = bits_of(values)
        rounded = (bits + _u32(0x7FFF) + ((bits >> _u32(16)) & _u32(1))) >> _u32(16)
        return lax.bitcast_convert_type(rounded.astype(np.uint16), jnp.bfloat16)
    return _half(values) if form.dtype == "float16" else values


def _half(values: Array) -> Array:
    """Return float16: by bits, since machines differ in what they do with its subnormals."""
    sign, size = bits_of(values) & _SIGN, bits_of(values) & ~_SIGN
    normal = (size + _u32(0xFFF) + ((size >> _u32(13)) & _u32(1)) - _u32(112 << 23)) >> _u32(13)
    small = bits_of(float_of(size) + _f32(0.5)) - bits_of(_f32(0.5))  # the sum's last bit is 2**-24
    rounded = jnp.where(size < _u32(113 << 23), small, normal) | (sign >> _u32(16))
    return lax.bitcast_convert_type(rounded.astype(np.uint16), np.float16)
