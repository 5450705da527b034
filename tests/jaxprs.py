"""What tests of JAX models share: trees compared bit for bit, and what every jaxpr of a model is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from isoinit.jax.models import traced

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8)), jnp.float32)
KEY = jax.random.key(1)


def equal(one, other):
    """Whether two trees are bit-equal."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(bits(a) == bits(b) for a, b in pairs)


def bits(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf).tobytes()


def applied(model):
    return model.apply(model.params, model.state, *model.inputs)


def same_reading(model, shape):
    """The jaxpr takes parameters, state and inputs in order, and returns what the model does."""
    jaxpr, tree = traced(model)
    avals = [(v.shape, v.dtype) for v in jaxpr.in_avals]
    names = [(leaf.shape, leaf.dtype) for leaf in model.names.values()]
    assert avals[: len(names)] == names
    rest = [(v.shape, v.dtype) for v in jax.tree.leaves((model.state, model.inputs))]
    assert avals[len(names) :] == rest
    assert [v.shape for v in jaxpr.out_avals] == [shape]
    assert tree == jax.tree.structure(0)
    return jaxpr
