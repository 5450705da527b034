"""What a model of JAX is: a function of parameters, whatever library it was written with.

A library is recognized without importing it: whoever passes one of its objects has imported it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from isoinit.errors import ArgumentError, TraceError
from isoinit.jax.spelling import is_array, named_leaves

KINDS = (
    "a function apply(params, *inputs), a module of Flax NNX or Equinox, a module of Flax Linen "
    "followed by its variables, or a transformed function of Haiku followed by its parameters"
)


@dataclass(frozen=True)
class Model:
    """A model as a pure function of its parameters.

    Attributes:
        name: what it is called in titles.
        apply: from (params, state, *inputs) to what the model returns.
        params: the tree of its parameters, whose leaves may be abstract.
        inputs: what it is called with.
        state: what else belongs to it: running statistics, keys for random numbers.
        aliases: other names of a parameter that stands in several places.
        rebuilt: from a tree of parameters to the object that was passed, with these.
    """

    name: str
    apply: Callable[..., Any]
    params: Any
    inputs: tuple[Any, ...]
    state: Any = ()
    aliases: dict[str, str] = field(default_factory=dict)
    rebuilt: Callable[[Any], Any] = lambda params: params

    @cached_property
    def names(self) -> dict[str, Any]:
        """The leaves of `params` by name."""
        return named_leaves(self.params)

    @property
    def drawn(self) -> list[str]:
        """The names of the leaves of floating-point or complex numbers: others are no parameters."""
        return [name for name, leaf in self.names.items() if _is_drawn(leaf)]

    def replaced(self, params: Any) -> Any:
        """Return what was passed, with other parameters; a module of Flax NNX is changed in place."""
        return self.rebuilt(params)


def model_of(model: Any, *args: Any) -> Model:
    """Return a model as a pure function of its parameters.

    Args:
        model: see `isoinit.jax.plan`.
        args: its variables, where it has them apart; then its inputs.

    Raises:
        ArgumentError: if it is of no known kind, has no parameters, or an input is no array.
    """
    found = None
    for maker in (_nnx, _linen, _equinox, _haiku, _function):
        found = maker(model, args)
        if found is not None:
            break
    if found is None:
        raise ArgumentError(f"model is a {type(model).__name__}{_hint(model)}; expected {KINDS}")
    if not found.drawn:
        raise ArgumentError(
            f"{found.name} has no parameters: none of its leaves is an array of floating-point numbers"
        )
    _require_arrays(found.inputs)
    return found


def _hint(model: Any) -> str:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return ", a module of torch, which isoinit.plan plans"
    return ""


def _kind(leaf: Any) -> Any:
    """Return the kind of numbers that a leaf holds, bfloat16 and shorter ones as float32."""
    dtype = leaf.dtype
    if not isinstance(dtype, np.dtype):
        return np.dtype(bool)  # keys
    return np.dtype(np.float32) if jax.numpy.issubdtype(dtype, np.floating) else dtype


def _nnx(model: Any, args: tuple[Any, ...]) -> Model | None:
    nnx = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(model, nnx.Module):
        return None
    graph, params, state = nnx.split(model, nnx.Param, ...)

    def apply(params: Any, state: Any, *inputs: Any) -> Any:
        return nnx.merge(graph, params, state)(*inputs)

    def rebuilt(params: Any) -> Any:
        nnx.update(model, params)
        return model

    return Model(type(model).__name__, apply, params, args, state, _shared(nnx, model), rebuilt)


def _shared(nnx: Any, model: Any) -> dict[str, str]:
    """Return the other places of variables that a module holds several times."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for path, node in nnx.iter_graph(model):
        if isinstance(node, nnx.Module):
            for key, value in vars(node).items():
                if isinstance(value, nnx.Param):
                    name = ".".join(map(str, (*path, key)))
                    before = first.setdefault(id(value), name)
                    if before != name:
                        found[name] = before
    return found


def _linen(model: Any, args: tuple[Any, ...]) -> Model | None:
    linen = sys.modules.get("flax.linen")
    if linen is None or not isinstance(model, linen.Module):
        return None
    name = type(model).__name__
    if not args or "params" not in getattr(args[0], "keys", tuple)():
        raise ArgumentError(
            f"{name} is a module of Flax Linen, which holds no parameters: pass its variables behind "
            "it, such as jax.eval_shape(module.init, jax.random.key(0), x)"
        )
    variables, *inputs = args
    others = {key: value for key, value in variables.items() if key != "params"}
    state = {"collections": others, "key": jax.random.key(0)}

    def apply(params: Any, state: Any, *inputs: Any) -> Any:
        known = {"params": params, **state["collections"]}
        rngs = dict.fromkeys(("params", "dropout"), state["key"])
        made = model.apply(known, *inputs, rngs=rngs, mutable=list(state["collections"]))
        return made[0]

    def rebuilt(params: Any) -> Any:
        return {**variables, "params": params}

    return Model(name, apply, variables["params"], tuple(inputs), state, {}, rebuilt)


def _equinox(model: Any, args: tuple[Any, ...]) -> Model | None:
    equinox = sys.modules.get("equinox")
    if equinox is None or not isinstance(model, equinox.Module) or not callable(model):
        return None
    params, rest = equinox.partition(model, _is_drawn)

    def apply(params: Any, _state: Any, *inputs: Any) -> Any:
        return equinox.combine(params, rest)(*inputs)

    return Model(
        type(model).__name__, apply, params, args, (), {}, lambda p: equinox.combine(p, rest)
    )


def _is_drawn(leaf: Any) -> bool:
    return is_array(leaf) and bool(np.issubdtype(_kind(leaf), np.inexact))


def _haiku(model: Any, args: tuple[Any, ...]) -> Model | None:
    haiku = sys.modules.get("haiku")
    if haiku is None:
        return None
    if isinstance(model, (haiku.MultiTransformed, haiku.MultiTransformedWithState)):
        raise ArgumentError(
            "model has several functions (hk.multi_transform): pass one of them, as "
            "lambda params, x: model.apply.name(params, key, x), followed by the parameters"
        )
    stateful = isinstance(model, haiku.TransformedWithState)
    if not stateful and not isinstance(model, haiku.Transformed):
        return None
    if not args or (stateful and not (isinstance(args[0], tuple) and len(args[0]) == 2)):
        what = "its (parameters, state)" if stateful else "its parameters"
        raise ArgumentError(
            f"a transformed function of Haiku holds no parameters: pass {what} behind it"
        )
    given, *inputs = args
    params, own = given if stateful else (given, {})
    state = {"own": own, "key": jax.random.key(0)}

    def apply(params: Any, state: Any, *inputs: Any) -> Any:
        if stateful:
            return model.apply(params, state["own"], state["key"], *inputs)[0]
        return model.apply(params, state["key"], *inputs)

    def rebuilt(params: Any) -> Any:
        return (params, own) if stateful else params

    return Model("Haiku model", apply, params, tuple(inputs), state, {}, rebuilt)


def _function(model: Any, args: tuple[Any, ...]) -> Model | None:
    torch = sys.modules.get("torch")
    if not callable(model) or isinstance(model, type):
        return None
    if torch is not None and isinstance(model, torch.nn.Module):
        return None
    name = getattr(model, "__name__", type(model).__name__)
    if not args:
        raise ArgumentError(
            f"{name} is a function: pass its parameters behind it, and then its inputs"
        )
    tree, *inputs = args
    leaves, structure = jax.tree_util.tree_flatten(tree)
    fixed = [None if is_array(leaf) else leaf for leaf in leaves]
    params = jax.tree_util.tree_unflatten(
        structure, [leaf if is_array(leaf) else None for leaf in leaves]
    )

    def whole(params: Any) -> Any:
        given = iter(jax.tree_util.tree_leaves(params))
        own = [
            next(given) if is_array(leaf) else kept
            for leaf, kept in zip(leaves, fixed, strict=True)
        ]
        return jax.tree_util.tree_unflatten(structure, own)

    def apply(params: Any, _state: Any, *inputs: Any) -> Any:
        return model(whole(params), *inputs)

    return Model(name, apply, params, tuple(inputs), (), {}, whole)


def _require_arrays(inputs: Sequence[Any]) -> None:
    for path, leaf in jax.tree_util.tree_flatten_with_path(tuple(inputs))[0]:
        where = f"input{jax.tree_util.keystr(path)}"
        if isinstance(leaf, (bool, int, float, complex)):
            continue
        if not is_array(leaf):
            raise ArgumentError(
                f"{where} is a {type(leaf).__name__}; expected an array or a jax.ShapeDtypeStruct. "
                "What is no array belongs into the function: functools.partial(apply, train=False)"
            )
        if not all(isinstance(size, (int, np.integer)) for size in leaf.shape):
            raise ArgumentError(
                f"{where} has shape {leaf.shape}, of unknown size: expected numbers, since fans and "
                "the signal follow from them"
            )


def abstract(tree: Any) -> Any:
    """Return a tree with shapes and types in place of its arrays."""

    def one(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if is_array(leaf) else leaf

    return jax.tree_util.tree_map(one, tree)


def traced(model: Model) -> tuple[Any, list[str], list[Any], list[Any], dict[str, str]]:
    """Return the jaxpr of a model, and what its arguments are: names, state, inputs and aliases.

    Raises:
        TraceError: if it cannot be traced, with its own error and the line that it came from.
    """
    inputs = jax.tree_util.tree_map(lambda x: x if is_array(x) else np.asarray(x), model.inputs)
    try:
        closed = jax.make_jaxpr(model.apply)(
            abstract(model.params), abstract(model.state), *abstract(inputs)
        )
    except Exception as error:  # whatever the model raises
        raise _explained(model, error) from error
    leaves = jax.tree_util.tree_leaves
    return closed, list(model.names), leaves(model.state), leaves(inputs), model.aliases


OURS = (str(Path(__file__).parents[1]), str(Path(str(jax.__file__)).parent))


def _explained(model: Model, error: Exception) -> TraceError:
    """Return an error that quotes the model's own, with the line of the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = [
        str(Path(str(m.__file__)).parent)
        for n in ("flax", "equinox", "haiku")
        if (m := sys.modules.get(n)) is not None and m.__file__
    ]
    theirs = [f for f in frames if not f.filename.startswith((*OURS, *libraries))]
    line = f' at {theirs[-1].filename}:{theirs[-1].lineno} "{theirs[-1].line}"' if theirs else ""
    said = next((line for line in str(error).splitlines() if line.strip()), "")
    branches = isinstance(error, jax.errors.ConcretizationTypeError)
    hint = ": a branch on values needs jax.lax.cond, or jnp.where" if branches else ""
    return TraceError(
        f"{model.name} cannot be traced{line}: {type(error).__name__}: {said}{hint}. Pass inputs that "
        "it accepts; nothing was changed"
    )
