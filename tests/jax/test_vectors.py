"""A product with a vector makes one unit: what it gives at each place is no unit of its own."""

import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import isoinit.jax as ij  # noqa: E402


def test_a_product_with_a_vector_makes_one_unit():
    """Equal places are no units that do the same."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "w": jax.random.normal(keys[0], (8, 32)) / 3,
        "a": jax.random.normal(keys[1], (32,)) / 6,
    }
    params["out"] = jax.random.normal(keys[2], (32, 3)) / 6
    x = jax.random.normal(keys[3], (30, 8))
    x = jnp.concatenate([x, x])

    def scored(params, x):
        h = jnp.tanh(x @ params["w"])
        return (h * jax.nn.softmax(h @ params["a"])[:, None] * len(x)) @ params["out"]

    def loss(y):
        return (y**2).mean()

    health = ij.check(scored, params, x, loss=loss)
    (layer,) = [layer for layer in health.layers if layer.name == "a"]
    assert (layer.units, layer.twins) == (1, 0.0)
    assert "same function" not in {finding.name for finding in health.findings}
