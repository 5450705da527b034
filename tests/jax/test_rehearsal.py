"""The rehearsal passes here, and notices arithmetic that is off by a last bit."""

import numpy as np
import pytest

from isoinit.errors import ArgumentError

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from isoinit._drawing.streams.philox import NORMAL, TRUNCATED  # noqa: E402
from isoinit.jax import arithmetic, philox, rehearsal  # noqa: E402

DEVICE = jax.devices("cpu")[0]


def test_a_processor_is_exact():
    """In bfloat16; in float32 the function's own example, in float64 `test_streams_in_x64`."""
    assert rehearsal.exact_on(DEVICE, jnp.bfloat16)


def rounded_twice(key, numbers, starts, form):
    """Scale and shift in two roundings."""
    if form.kind != NORMAL or not form.shifted:
        return philox.draw(key, numbers, starts, form)
    one, none = np.float32(1), np.float32(0)
    standard = numbers._replace(scale=one, shift=none, unit=one)
    deviates = philox.draw(key, standard, starts, form)
    zero = arithmetic.zero_of(arithmetic.bits_of(deviates))  # or XLA would make one rounding of two
    product = arithmetic.opaque(deviates * numbers.scale, zero)
    return (product + numbers.shift) * numbers.unit


def wrong_in_the_tail(key, numbers, starts, form):
    """The last bit of one value in 370, from 3 std on."""
    values = philox.draw(key, numbers, starts, form)
    if form.kind != TRUNCATED:
        return values
    bits = jax.lax.bitcast_convert_type(values, np.uint32)
    last = (abs(values) > 3).astype(np.uint32)
    return jax.lax.bitcast_convert_type(bits ^ last, np.float32)


def without_high_words(key, numbers, starts, form):
    """Indices of 32 bits."""
    first, second = form.shape
    narrow = form._replace(shape=(first, second % 2**16 or 2**8))
    return philox.draw(key, numbers, starts, narrow)


@pytest.mark.parametrize("draw", [rounded_twice, wrong_in_the_tail, without_high_words])
def test_broken_arithmetic_is_noticed(draw):
    assert rehearsal.rehearse(DEVICE, "float32", draw) is False


def test_other_types_are_refused():
    with pytest.raises(ArgumentError, match="int8"):
        rehearsal.exact_on(DEVICE, "int8")
    with pytest.raises(ArgumentError, match="complex64"):
        rehearsal.exact_on(DEVICE, "complex64")
