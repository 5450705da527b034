"""Builds JAX models without running their initializers, fills them by name, and runs them.

Names are spelled here anew, in a few lines of their own, so that twins also prove the spelling of
`isoinit.jax`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from jax_older import value_of


def zeros(tree: Any) -> Any:
    """Return a tree with zeros for every abstract array; the rest as it is."""

    def value(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        return jnp.asarray(np.zeros(leaf.shape, leaf.dtype))

    return jax.tree_util.tree_map(value, tree)


def blank(*shape: int) -> jax.Array:
    """Return zeros; unlike `jnp.zeros`, without a compilation for each shape."""
    return jnp.asarray(np.zeros(shape, np.float32))


def ones_like(array: jax.Array) -> jax.Array:
    """Return ones without a compilation."""
    return jnp.asarray(np.ones(array.shape, array.dtype))


def built_nnx(make: Callable[[], nnx.Module]) -> nnx.Module:
    """Build a Flax NNX module with zeros for parameters, and ones for running variances."""
    graph, state = nnx.split(nnx.eval_shape(make))
    values = []
    for path, variable in nnx.to_flat_state(state):
        value = zeros(value_of(variable))
        values.append((path, variable.replace(ones_like(value) if path[-1] == "var" else value)))
    return nnx.merge(graph, nnx.from_flat_state(values))


def built_linen(module: linen.Module, *inputs: Any) -> dict[str, Any]:
    """Return a Flax Linen module's variables: zeros, and ones for running variances."""
    variables = zeros(jax.eval_shape(module.init, jax.random.key(0), *inputs))

    def value(path: Any, leaf: Any) -> Any:
        return ones_like(leaf) if _spelled(path).endswith(".var") else leaf

    return jax.tree_util.tree_map_with_path(value, variables)


def built_equinox(make: Callable[[], eqx.Module]) -> eqx.Module:
    """Build an Equinox module with zeros for parameters."""
    return zeros(eqx.filter_eval_shape(make))


def built_haiku(transformed: hk.Transformed, *inputs: Any) -> Any:
    """Return a Haiku function's parameters: zeros."""
    return zeros(jax.eval_shape(transformed.init, jax.random.key(0), *inputs))


def _spelled(path: Any) -> str:
    keys = (getattr(key, "key", getattr(key, "name", getattr(key, "idx", None))) for key in path)
    return ".".join(map(str, keys))


def _params(arguments: tuple[Any, ...]) -> Any:
    """Return the tree of parameters among what `isoinit.jax.plan` takes."""
    model = arguments[0]
    if isinstance(model, nnx.Module):
        return nnx.to_pure_dict(nnx.state(model, nnx.Param))
    if isinstance(model, eqx.Module):
        return eqx.filter(model, eqx.is_inexact_array)
    if isinstance(model, linen.Module):
        return arguments[1]["params"]
    return arguments[1]


def parameters(arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Return the parameters of a JAX model by name."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(_params(arguments))
    return {_spelled(path): leaf for path, leaf in leaves}


def run(arguments: tuple[Any, ...], values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the output of a JAX model with these values as its parameters."""
    held = _params(arguments)
    filled = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(values[_spelled(path)], leaf.dtype), held
    )
    apply, inputs = _function(arguments)
    return np.asarray(jax.jit(apply)(filled, *inputs))


def _function(arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return a function of parameters and inputs, and the inputs."""
    model, *rest = arguments
    if isinstance(model, nnx.Module):
        graph, params, others = nnx.split(model, nnx.Param, ...)

        def apply_nnx(filled: Any, others: Any, *inputs: Any) -> Any:
            nnx.replace_by_pure_dict(params, filled)
            return nnx.merge(graph, params, others)(*inputs)

        return apply_nnx, (others, *rest)
    if isinstance(model, eqx.Module):
        _, others = eqx.partition(model, eqx.is_inexact_array)
        return lambda filled, *inputs: eqx.combine(filled, others)(*inputs), tuple(rest)
    if isinstance(model, linen.Module):
        return (
            lambda filled, *inputs: model.apply({**rest[0], "params": filled}, *inputs),
            tuple(rest[1:]),
        )
    if isinstance(model, hk.Transformed):
        return lambda filled, *inputs: model.apply(filled, None, *inputs), tuple(rest[1:])
    return model, tuple(rest[1:])
