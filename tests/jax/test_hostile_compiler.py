"""The bits stand whatever a compiler and a machine may do to float32 operations.

GPUs and TPUs are rarely at hand. Here a computation is run operation by operation, with all that XLA
may do on one device or another: every product that reaches a sum is contracted with it, also one with
several uses; subnormal results are zero; division and square root are off by a last bit or two.
"""

import numpy as np
import pytest

import isoinit
from isoinit._drawing.streams import Stream
from isoinit._drawing.streams.philox import fma32, key_words

jax = pytest.importorskip("jax")

from jax.extend.core import Literal  # noqa: E402

from isoinit.jax import arithmetic, philox  # noqa: E402

SIZES = (32, 1024)
LAWS = [
    isoinit.Normal(0.0, 0.02),
    isoinit.Normal(1.0, 0.3),
    isoinit.Uniform(-0.1, 0.1),
    isoinit.TruncatedNormal(std=0.02),
    isoinit.TruncatedNormal(a=-8.0, b=8.0),
    isoinit.TruncatedNormal(0.1, 3.0, a=3.0, b=9.0),
    isoinit.TruncatedNormal(a=-10.8, b=-10.0),
    isoinit.Normal(0.0, 2.0**-78),
    isoinit.Normal(2.0**90, 2.0**88),
]


class Machine:
    """Runs a jaxpr; `products` keeps of each value that is a product what its factors are."""

    def __init__(self):
        self.products = {}
        self.contracted = 0

    def run(self, jaxpr, constants, arguments):
        values = dict(zip(jaxpr.constvars, constants, strict=True))
        values |= dict(zip(jaxpr.invars, arguments, strict=True))

        def of(variable):
            literal = isinstance(variable, Literal)
            return np.asarray(variable.val if literal else values[variable])

        for equation in jaxpr.eqns:
            results = self.step(equation, [of(variable) for variable in equation.invars])
            values |= dict(zip(equation.outvars, results, strict=True))
        return [of(variable) for variable in jaxpr.outvars]

    def step(self, equation, found):
        inner, name = equation.params.get("jaxpr"), equation.primitive.name
        if inner is not None:
            return self.run(inner.jaxpr, inner.consts, found)
        is_float = found and found[0].dtype == np.float32
        if is_float and name in ("add", "sub"):
            return [flushed(self.sum(name, *found))]
        results = equation.primitive.bind(*found, **equation.params)
        results = [np.asarray(x) for x in (results if isinstance(results, list) else [results])]
        if is_float and name in ("div", "sqrt"):
            off = np.arange(results[0].size, dtype=np.int32).reshape(results[0].shape) % 5 - 2
            results = [(results[0].view(np.int32) + off).view(np.float32)]
        if is_float and name == "mul":
            results = [flushed(results[0])]
            self.products[id(results[0])] = (*found, results[0])  # kept, so that ids stay its own
        return results

    def sum(self, name, a, b):
        sign = np.float32(-1 if name == "sub" else 1)
        for one, other, first in ((a, sign * b, np.float32(1)), (b, a, sign)):
            if id(one) in self.products:
                self.contracted += 1
                x, y, _ = self.products[id(one)]
                return fma32(first * x, y, other)
        return a + sign * b


def flushed(x):
    return np.where(np.abs(x) < 2.0**-126, np.copysign(np.float32(0), x), x)


def computed(initializer):
    law = initializer.law(None, np.dtype(np.float32))
    assert philox.keeps_clear_of_subnormals(law, "float32")
    key = np.array(key_words(Stream(0, "w").key()), np.uint32)
    form = philox.form_of(law, "float32", SIZES, SIZES)
    numbers, starts = philox.numbers_of(law, "float32"), (np.uint32(0), np.uint32(0))
    traced = jax.make_jaxpr(philox.draw, static_argnums=3)(key, numbers, starts, form)
    machine = Machine()
    (found,) = machine.run(traced.jaxpr, traced.consts, [key, *numbers, *starts])
    expected = np.empty(SIZES, np.float32)
    Stream(0, "w").fill(expected.reshape(-1), law)
    return machine, int((found.view(np.uint32) != expected.view(np.uint32)).sum())


@pytest.mark.parametrize("initializer", LAWS, ids=str)
def test_no_bit_changes(initializer):
    machine, differing = computed(initializer)
    assert machine.contracted
    assert differing == 0


def test_the_machine_changes_what_is_not_guarded():
    """A product that is rounded before it is added to, as two operations say."""
    a, b = (np.random.default_rng(n).standard_normal(1000).astype(np.float32) for n in (0, 1))
    traced = jax.make_jaxpr(lambda a, b: a * b + a)(a, b)
    (contracted,) = Machine().run(traced.jaxpr, traced.consts, [a, b])
    assert (contracted != a * b + a).any()
    zero = np.zeros(1000, np.uint32)
    traced = jax.make_jaxpr(lambda a, b: arithmetic.opaque(a * b, zero) + a)(a, b)
    (guarded,) = Machine().run(traced.jaxpr, traced.consts, [a, b])
    assert (guarded == a * b + a).all()
