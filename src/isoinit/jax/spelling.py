"""What the parameters of a JAX model are called: the path of a leaf, joined by dots.

| library | a parameter | its name |
|---|---|---|
| any tree | `{"layers": [{"w": ...}]}` | `layers.0.w` |
| Flax NNX | `model.blocks[0].attn.query.kernel` | `blocks.0.attn.query.kernel` |
| Flax Linen | `variables["params"]["Dense_0"]["kernel"]` | `Dense_0.kernel` |
| Equinox | `model.layers[0].weight` | `layers.0.weight` |
| Haiku | `params["mlp/~/linear_0"]["w"]` | `mlp/~/linear_0.w` |

The name is that of the parameter's random numbers: a tree that is built otherwise, but spells the same
names, gets the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isoinit.errors import ArgumentError

WRAPPED = ("value", "raw_value")  # what Flax NNX calls the array of a variable


def is_array(leaf: Any) -> bool:
    """Return whether a leaf is an array, or stands for one: it has a shape and a type."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the arrays of a tree by their names, in the order of its leaves.

    Args:
        tree: any pytree. Leaves that are no arrays (functions, numbers of a module's settings) are
            left out.

    Raises:
        ArgumentError: if two arrays have one name.

    Example:
        >>> import numpy as np
        >>> list(named_leaves({"layers": [{"w": np.ones(2), "act": abs}]}))
        ['layers.0.w']
    """
    return {name: leaf for name, leaf in spelled(tree) if is_array(leaf)}


def with_leaves(tree: Any, values: Mapping[str, Any]) -> Any:
    """Return a tree of the same structure with other leaves, by name; the others stay as they are.

    Args:
        tree: any pytree.
        values: what takes the place of leaves.

    Example:
        >>> with_leaves({"w": 1, "b": 2}, {"b": 3})
        {'b': 3, 'w': 1}
    """
    import jax

    structure = jax.tree_util.tree_structure(tree)
    leaves = [values.get(name, leaf) for name, leaf in spelled(tree)]
    return jax.tree_util.tree_unflatten(structure, leaves)


def spelled(tree: Any) -> list[tuple[str, Any]]:
    """Return every leaf of a tree with its name, in order; see `named_leaves`."""
    import jax

    found: list[tuple[str, Any]] = []
    where: dict[str, str] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        steps = [_step(key) for key in path]
        while steps and steps[-1] in WRAPPED and not hasattr(path[len(steps) - 1], "key"):
            steps.pop()
        name, shown = ".".join(steps), jax.tree_util.keystr(path)
        if name in where and is_array(leaf):
            raise ArgumentError(
                f"params{where[name]} and params{shown} are both called {name!r}: rename one of them"
            )
        if is_array(leaf):
            where[name] = shown
        found.append((name, leaf))
    return found


def _step(key: Any) -> str:
    """Return a step of a path: a key, an attribute, or an index."""
    for kind in ("key", "name", "idx"):
        if hasattr(key, kind):
            return str(getattr(key, kind))
    return str(key)
