"""Names of the leaves of a JAX tree: the keys on the way to a leaf, joined by dots.

A name says where the user finds the leaf. It decides the leaf's random stream, so the same name and
layout give the same bits in every library.

| tree | a leaf of it | its name |
|---|---|---|
| dicts, lists, tuples | `params["blocks"][0]["w"]` | `blocks.0.w` |
| dataclasses, named tuples, other registered nodes | `params.layer.w` | `layer.w` |
| Flax NNX: `nnx.State` or module | `model.blocks[0].attn.kernel` | `blocks.0.attn.kernel` |
| Flax Linen, under "params" | `variables["params"]["Dense_0"]["kernel"]` | `Dense_0.kernel` |
| Equinox module | `model.layers[0].weight` | `layers.0.weight` |
| Haiku params | `params["mlp/~/linear_0"]["w"]` | `mlp/~/linear_0.w` |
| one array alone | `params` | `params` |

A box around an array adds nothing to the name: neither `nnx.Variable` (with its `.value`) nor the
metadata of Linen's partitioning (`nn.Partitioned`). Nodes that were registered without keys count
what they hold: `0`, `1`, …
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from isoinit.errors import ArgumentError, UnknownParameterError

KeyPath = tuple[Any, ...]
ALONE = "params"  # the name of a tree that is one array
# Kinds of NumPy types that JAX has no arrays of: objects, text, times.
_FOREIGN = "OSUMm"


class Leaf(NamedTuple):
    """A leaf of a tree.

    Attributes:
        name: the keys on the way to it, joined by dots.
        path: the way as JAX writes it, such as `['a'].b[0]`.
        value: the leaf.
        box: the innermost box around it, such as an `nnx.Param`; None if there is none.
    """

    name: str
    path: str
    value: Any
    box: Any


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the arrays of a tree by name, in the order of `jax.tree_util.tree_flatten_with_path`.

    Args:
        tree: any pytree. Arrays are those of JAX and NumPy, `jax.ShapeDtypeStruct`, and whatever else
            has a shape and a dtype that JAX knows. All other leaves are skipped: functions, numbers
            and strings that an Equinox module holds.

    Raises:
        ArgumentError: if two arrays have the same name, such as `{"a.b": x, "a": {"b": y}}`.

    Example:
        >>> import numpy as np
        >>> tree = {"layers": [{"w": np.zeros((3, 2)), "activation": np.tanh}], "scale": np.ones(3)}
        >>> {name: leaf.shape for name, leaf in named_leaves(tree).items()}
        {'layers.0.w': (3, 2), 'scale': (3,)}
    """
    named: dict[str, Leaf] = {}
    for leaf in leaves_of(tree):
        if not is_array(leaf.value):
            continue
        if leaf.name in named:
            raise ArgumentError(
                f"two leaves of the tree are both named {leaf.name!r}: {named[leaf.name].path} "
                f"and {leaf.path}. Rename one of them, or use keys without dots"
            )
        named[leaf.name] = leaf
    return {name: leaf.value for name, leaf in named.items()}


def with_leaves(tree: Any, values: Mapping[str, Any]) -> Any:
    """Return a new tree of the same structure, with the values in the places of their names.

    Leaves that `values` does not name, and those that are no arrays, stay as they are. The tree itself
    is not changed. Shapes and types are not compared: a value may be abstract, or a sharding.

    Raises:
        ArgumentError: if two arrays of the tree have the same name.
        UnknownParameterError: if no array of the tree has one of the names.

    Example:
        >>> import numpy as np
        >>> with_leaves({"a": [np.zeros(1), "text"], "b": np.ones(1)}, {"a.0": np.full(1, 2.0)})
        {'a': [array([2.]), 'text'], 'b': array([1.])}
    """
    known = named_leaves(tree)
    for name in values:
        if name not in known:
            raise UnknownParameterError(name, known)
    leaves = [
        values.get(leaf.name, leaf.value) if is_array(leaf.value) else leaf.value
        for leaf in leaves_of(tree)
    ]
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(tree), leaves)


def every_leaf(tree: Any) -> dict[str, Any]:
    """Return all leaves of a tree by name, arrays or not: see `named_leaves`."""
    return {**{leaf.name: leaf.value for leaf in leaves_of(tree)}, **named_leaves(tree)}


def leaves_of(tree: Any, before: KeyPath = ()) -> list[Leaf]:
    """Return all leaves of a tree in JAX's order, arrays or not.

    Args:
        tree: any pytree.
        before: keys on the way to the tree itself, which names begin with.
    """
    is_box = _boxes()
    found: list[Leaf] = []

    def walk(node: Any, way: KeyPath, spelled: KeyPath, box: Any) -> None:
        inside = jax.tree_util.tree_flatten_with_path(
            node, is_leaf=lambda each: each is not node and is_box(each)
        )[0]
        # The key of what the box holds is the box's own affair. A box of several things keeps theirs.
        hidden = is_box(node) and len({path[:1] for path, _ in inside}) == 1
        box = node if is_box(node) else box
        for path, item in inside:
            whole, name = way + path, spelled + (path[1:] if hidden else path)
            if item is not node and is_box(item):
                walk(item, whole, name, box)
            else:
                found.append(Leaf(_joined(name), jax.tree_util.keystr(whole), item, box))

    walk(tree, before, before, None)
    return found


def is_array(leaf: Any) -> bool:
    """Return whether a leaf is an array, concrete or abstract, of a type that JAX knows."""
    if isinstance(leaf, type):
        return False
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    if not isinstance(shape, tuple):
        return False
    if isinstance(dtype, np.dtype):
        return dtype.kind not in _FOREIGN and dtype.names is None
    return is_key(leaf)


def is_key(leaf: Any) -> bool:
    """Return whether an array holds typed keys of `jax.random.key`."""
    known = isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | jax.core.ShapedArray)
    return known and bool(jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def is_inexact(leaf: Any) -> bool:
    """Return whether an array holds real or complex numbers, which can be drawn and trained."""
    return bool(jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact))


def _joined(path: KeyPath) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".") if path else ALONE


def _boxes() -> Callable[[Any], bool]:
    """Return what tells the boxes of Flax. Who has not loaded Flax has none."""
    kinds: list[type] = []
    if nnx := sys.modules.get("flax.nnx"):
        kinds.append(nnx.Variable)
        if hasattr(nnx, "VariableState"):  # what a state holds, before Flax 0.12
            kinds.append(nnx.VariableState)
    if meta := sys.modules.get("flax.core.meta"):
        kinds.append(meta.AxisMetadata)
    boxes = tuple(kinds)
    return lambda node: isinstance(node, boxes)
