"""A small model of JAX by its sizes: residual layers in a scan."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def struct(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


X = struct(4, 8)


def apply(params: Any, x: Any) -> Any:
    def layer(x: Any, p: Any) -> tuple[Any, None]:
        return x + jax.nn.relu(x @ p["up"] + p["bias"]) @ p["down"], None

    x, _ = jax.lax.scan(layer, x @ params["in"], params["layers"])
    return x @ params["out"]


def build(n: int, depth: int = 3) -> tuple[Any, dict[str, Any]]:
    """Return the model and its parameters, which have no values."""
    layers = {"up": struct(depth, n, 2 * n), "bias": struct(depth, 2 * n)}
    layers["down"] = struct(depth, 2 * n, n)
    return apply, {"in": struct(8, n), "layers": layers, "out": struct(n, 2)}


def filled(tree: Any, value: float) -> Any:
    """Return a tree of arrays that hold one number."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.full(leaf.shape, value, np.float32)), tree)
