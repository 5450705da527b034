"""Arithmetic that every machine does alike, of float32 and uint32 arrays of JAX.

It asks of a machine that 32-bit integers wrap around, and that additions, subtractions and
multiplications of float32 are rounded to nearest even. The rest is made of these: products of 64 bits,
fused multiply-add, square root and reciprocal, for XLA's are approximate on a GPU.

XLA contracts ``a * b + c`` to one operation, and folds ``(x + 1) - 1`` where 1 is a constant. Where
that would change the result, a value is `opaque`: XORed with a zero that no compiler sees through.
"""

from __future__ import annotations

from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = Any  # an array of JAX or one that is traced, or a NumPy scalar

_u32, _i32, _f32 = np.uint32, np.int32, np.float32
_FRACTION: Final = _u32(0x7FFFFF)
_LEADING: Final = _u32(0x800000)


def multiply(factor: np.uint32, x: Array) -> tuple[Array, Array]:
    """Return the upper and the lower word of a product, by halves of words.

    >>> high, low = multiply(np.uint32(0xCD9E8D57), jnp.uint32(0x9E3779B9))
    >>> (int(high) << 32) + int(low) == 0xCD9E8D57 * 0x9E3779B9
    True
    """
    upper, lower = _u32(factor >> _u32(16)), _u32(factor & _u32(0xFFFF))
    x_upper, x_lower = x >> _u32(16), x & _u32(0xFFFF)
    middle = x_upper * lower + ((x_lower * lower) >> _u32(16))
    other = x_lower * upper + (middle & _u32(0xFFFF))
    high = x_upper * upper + (middle >> _u32(16)) + (other >> _u32(16))
    return high, x * factor


def zero_of(word: Array) -> Array:
    """Return zero: odd squares are 1 modulo 8. No compiler that we know works that out."""
    odd = word | _u32(1)
    return (odd * odd) & _u32(4)


def opaque(x: Array, zero: Array) -> Array:
    """Return float values as they are, but so that no compiler knows what they were computed from."""
    if x.dtype == np.float64:
        bits = lax.bitcast_convert_type(jnp.asarray(x), np.uint64) ^ zero.astype(np.uint64)
        return lax.bitcast_convert_type(bits, np.float64)
    return float_of(bits_of(x) ^ zero)


def bits_of(x: Array) -> Array:
    """Return the bits of float32 values as uint32."""
    return lax.bitcast_convert_type(jnp.asarray(x), _u32)


def float_of(bits: Array) -> Array:
    """Return the float32 values of bits."""
    return lax.bitcast_convert_type(bits, _f32)


def signed(bits: Array) -> Array:
    """Return the same bits as int32."""
    return lax.bitcast_convert_type(bits, _i32)


def unsigned(bits: Array) -> Array:
    """Return the same bits as uint32."""
    return lax.bitcast_convert_type(bits, _u32)


@jax.jit
def fma(a: Array, b: Array, c: Array, zero: Array) -> Array:
    """Return ``a * b + c``, rounded once: Boldo and Melquiond 2008, from plain operations.

    The product is a sum of two floats, exactly (Dekker 1971). Adding ``c``, all but the last sum is
    exact or rounded to odd, so that the last one rounds as if it were the only one.
    """
    c = opaque(c, zero)
    product, rest = _product(a, b, zero)
    upper, lower = _sum(c, rest)
    upper, middle = _sum(product, upper)
    return upper + _sum_to_odd(lower, middle)


def _product(a: Array, b: Array, zero: Array) -> tuple[Array, Array]:
    """Return a product and its error. Products of halves are exact, contracted or not."""
    product = opaque(a * b, zero)
    a_upper, b_upper = (float_of(bits_of(x) & _u32(0xFFFFF000)) for x in (a, b))
    a_lower, b_lower = a - a_upper, b - b_upper
    rest = ((a_upper * b_upper - product) + a_upper * b_lower) + a_lower * b_upper
    return product, rest + a_lower * b_lower


def _sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a sum and its error (Knuth 1969)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _sum_to_odd(a: Array, b: Array) -> Array:
    """Return a sum, rounded to the odd one of its two neighbours where it is not exact."""
    total, error = _sum(a, b)
    away = ((error > 0) != (total > 0)).astype(_u32)
    return jnp.where(error != 0, float_of((bits_of(total) - away) | _u32(1)), total)


def polynomial(x: Array, coefficients: tuple[float, ...], zero: Array) -> Array:
    """Return a polynomial's value by Horner's rule, lowest coefficient first."""
    value = jnp.full_like(x, _f32(coefficients[-1]))
    for coefficient in coefficients[-2::-1]:
        value = fma(value, x, _f32(coefficient), zero)
    return value


def square_root(x: Array) -> Array:
    """Return the correctly rounded root of a normal x > 0, from the machine's approximate one.

    x = X·2**-23 times a power of four, in [1, 4), and the root is an integer times 2**-23.
    """
    exponent, fraction = bits_of(x) >> _u32(23), bits_of(x) & _FRACTION
    even = exponent & _u32(1)  # whether the exponent is, which is stored with 127 added
    near = jnp.sqrt(float_of(fraction | ((_u32(128) - even) << _u32(23))))
    square = signed((fraction | _LEADING) << (_u32(24) - even))
    root = unsigned(nearest_root((near * _f32(2**23)).astype(_i32), square))
    # The root's leading bit adds one to the exponent.
    return float_of(root + (((exponent + _u32(124) + even) >> _u32(1)) << _u32(23)))


def nearest_root(root: Array, square: Array) -> Array:
    """Return the integer nearest to a root of 2**23 to 2**24, from one that is off by at most two.

    All are int32. The square is given without its upper bits: the difference of the squares is
    small, so that 32 bits that wrap around hold it.
    """
    rest = square - root * root
    for _ in range(2):
        up, down = rest > root, rest <= -root
        rest = rest - jnp.where(up, 2 * root + 1, jnp.where(down, 1 - 2 * root, 0))
        root = root + up.astype(_i32) - down.astype(_i32)
    return root


def reciprocal(x: Array) -> Array:
    """Return the correctly rounded reciprocal of a normal x >= 1, from an approximate one.

    x = X·2**-23 times a power of two, in [1, 2), and the result is an integer times 2**-24.
    """
    exponent, fraction = bits_of(x) >> _u32(23), bits_of(x) & _FRACTION
    near = _f32(1) / float_of(fraction | _u32(127 << 23))
    divisor = signed(fraction | _LEADING)
    quotient = unsigned(nearest_quotient((near * _f32(2**24)).astype(_i32), divisor))
    return float_of(quotient + ((_u32(252) - exponent) << _u32(23)))


def nearest_quotient(quotient: Array, divisor: Array) -> Array:
    """Return the integer nearest to 2**47 / divisor, from one that is off by at most two, in int32."""
    rest = -(quotient * divisor)  # 2**47 is 0 in 32 bits
    for _ in range(2):
        step = (2 * rest > divisor).astype(_i32) - (2 * rest < -divisor).astype(_i32)
        rest, quotient = rest - step * divisor, quotient + step
    return quotient
