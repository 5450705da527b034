"""A signal that meets itself in another order, in JAX."""

import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import isoinit.jax as ij  # noqa: E402

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((128, 20, 32), np.float32)
PARAMS = {"a": DRAW.standard_normal((32, 96), np.float32), "b": np.zeros((96, 64), np.float32)}
UNITS, EXAMPLES = DRAW.permutation(96), DRAW.permutation(128)
MEETINGS = {
    "difference of places": (lambda h: h - jnp.flip(h, 1), 2.0),
    "sum with places rolled": (lambda h: h + jnp.roll(h, 1, 1), 2.0),
    "product of units in reverse": (lambda h: h * h[..., ::-1], 1.0),
    "product with units by number": (lambda h: h * h[..., UNITS], 1.0),
    "product with units taken": (lambda h: h * jnp.take(h, UNITS, axis=-1), 1.0),
    "mixed examples": (lambda h: 0.5 * h + 0.5 * h[EXAMPLES], 0.5),
}


@pytest.mark.parametrize("name", MEETINGS)
def test_signal_is_as_measured(name):
    function, second = MEETINGS[name]

    def apply(params, x):
        return function(x @ params["a"]) @ params["b"]

    plan = ij.plan(apply, PARAMS, X)
    assert plan["b"].std * 96**0.5 == pytest.approx(second**-0.5, rel=0.02)
    output = np.asarray(apply(plan.fill(PARAMS), X))
    assert np.sqrt(np.square(output).mean()) == pytest.approx(1.0, rel=0.1)
