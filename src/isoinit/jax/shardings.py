"""Where each leaf of a tree goes: the sharding that was asked for, checked against its shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding

from isoinit._showing.findings import listed
from isoinit.errors import ArgumentError, PlanError

Asked = Sharding | Callable[[str, Any], Sharding | None] | Any  # Any: a pytree of the first
EXPECTED = "expected a jax.sharding.Sharding, such as NamedSharding(mesh, PartitionSpec('x'))"


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array of JAX or NumPy, or stands for one."""
    return isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)


def asked_for(params: Any, leaves: Mapping[str, Any], sharding: Asked) -> dict[str, Sharding]:
    """Return the sharding that was asked for each array of a tree, by name, if one was.

    Args:
        params: the tree.
        leaves: its leaves by name, in its order.
        sharding: as for `isoinit.jax.filling.fill`.

    Raises:
        ArgumentError: if it is of another kind, or a tree of another structure.
        PlanError: if shapes and shardings do not go together, all of them at once.
    """
    if sharding is None:
        return {}
    arrays = {name: leaf for name, leaf in leaves.items() if is_array(leaf)}
    if isinstance(sharding, Sharding):
        found: dict[str, Any] = dict.fromkeys(arrays, sharding)
    elif callable(sharding) and jax.tree_util.all_leaves([sharding]):  # modules are callable trees
        found = {name: sharding(name, leaf) for name, leaf in arrays.items()}
    else:
        spread = _broadcast(sharding, params)
        found = {name: one for name, one in zip(leaves, spread, strict=True) if name in arrays}
    asked = {name: _checked(name, one) for name, one in found.items() if one is not None}
    _refuse_unfit({name: (arrays[name], one) for name, one in asked.items()})
    return asked


def own(leaf: Any) -> Sharding | None:
    """Return the sharding that a leaf has; None if it may go where JAX's default is.

    An array that JAX placed by default is not committed to its device: a jitted function moves it
    to those of its other arguments. What takes its place must move like it.
    """
    if isinstance(leaf, np.ndarray) or (isinstance(leaf, jax.Array) and not leaf.committed):
        return None
    sharding: Sharding | None = leaf.sharding
    return sharding


def by_compiler(leaf: Any) -> Any:
    """Return an array on the same shards, whose sharding the compiler carries on by itself.

    On a mesh with explicit axes, as `jax.make_mesh` makes them, the type of each array tells how it is
    sharded, and operations refuse what is ambiguous. Equations that were read without shardings are
    not written for that. Nothing is copied.
    """
    sharding = getattr(leaf, "sharding", None)
    if not isinstance(leaf, jax.Array) or not isinstance(sharding, NamedSharding):
        return leaf
    mesh = sharding.mesh
    if not isinstance(mesh, Mesh) or all(kind == AxisType.Auto for kind in mesh.axis_types):
        return leaf
    left = Mesh(mesh.devices, mesh.axis_names)
    return jax.device_put(leaf, NamedSharding(left, sharding.spec))


def _broadcast(prefix: Any, params: Any) -> list[Any]:
    """Return one item of a tree, which may end above the leaves of another, for each leaf of that."""
    missing = object()  # None would be no leaf of the result

    def below(one: Any, part: Any) -> Any:
        return jax.tree_util.tree_map(lambda _: missing if one is None else one, part)

    try:
        spread = jax.tree_util.tree_map(below, prefix, params, is_leaf=lambda one: one is None)
    except (ValueError, TypeError, KeyError) as error:
        raise ArgumentError(
            f"sharding is a {type(prefix).__name__}; expected a Sharding, a function of name and "
            "leaf, or a tree of shardings with the structure of params or a prefix of it. JAX "
            f"says: {error}"
        ) from error
    return [None if one is missing else one for one in jax.tree_util.tree_leaves(spread)]


def _checked(name: str, found: Any) -> Sharding:
    if not isinstance(found, Sharding):
        raise ArgumentError(f"sharding for {name!r} is {found!r}; {EXPECTED}")
    return found


def _refuse_unfit(pairs: Mapping[str, tuple[Any, Sharding]]) -> None:
    """Raise for arrays that cannot be cut so, with JAX's own words."""
    faults = []
    for name, (leaf, sharding) in pairs.items():
        rank = len(leaf.shape)
        named = sharding.spec if isinstance(sharding, NamedSharding) else ()
        if len(named) > rank:  # JAX 0.8 and before: an IndexError that names nothing
            faults.append(f"{name!r} of shape {leaf.shape} ({named} needs a rank of {len(named)})")
            continue
        try:
            jax.ShapeDtypeStruct(leaf.shape, np.float32, sharding=sharding)  # too many axes
            sharding.shard_shape(leaf.shape)  # sizes that do not divide
        except ValueError as error:
            faults.append(f"{name!r} of shape {leaf.shape} ({error})")
    if faults:
        raise PlanError(
            f"nothing was drawn: the sharding does not fit {listed(faults)}. Give these "
            "parameters another sharding"
        )
