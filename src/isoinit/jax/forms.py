"""What each JAX library calls a model, as one form: a pure function of parameters and state.

Libraries are looked up in `sys.modules` and never imported: who has their object has loaded them.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from isoinit.errors import ArgumentError
from isoinit.jax.parts import Call, Part
from isoinit.jax.spelling import (
    KeyPath,
    Leaf,
    is_array,
    is_key,
    leaves_of,
    named_leaves,
)

ACCEPTED = (
    "plan takes (apply, params, *inputs) with any function of a pytree, (nnx_module, *inputs), "
    "(linen_module, variables, *inputs), (equinox_module, *inputs), or "
    "(haiku_transformed, params, *inputs)"
)


@dataclass(frozen=True)
class Form:
    """A model as its library has it.

    Attributes:
        library: "function", "nnx", "linen", "equinox" or "haiku".
        name: the name of its class or function.
        params: a pytree whose arrays are the parameters.
        state: a pytree of the other arrays that it computes with; `{}` if there are none.
        run: calls it: `run(params, state, args, kwargs)` returns the outputs and changes nothing.
        replaced: returns what the user passed, with other parameters.
        assign: writes other parameters into the user's object; None where nothing is written in place.
        aliases: further names of shared parameters, and the name that each shares with.
        holds: whether the user's object holds its parameters; else they come after it.
    """

    library: str
    name: str
    params: Any
    state: Any
    run: Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]
    replaced: Callable[[Any], Any]
    assign: Callable[[Any], None] | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    holds: bool = False


def form_of(
    model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Form, tuple[Any, ...]]:
    """Return the form of a model, and which of the arguments are inputs.

    Args:
        model: what the user passed first.
        args: what the user passed after it: parameters where the model does not hold them, and inputs.
        kwargs: the keyword arguments of a call.

    Raises:
        ArgumentError: if the model is none of the kinds that are accepted, or lacks what goes with it.
    """
    _refuse(model)
    if _is(model, "flax.nnx", "Module"):
        return _nnx(model), args
    linen = _linen_module(model)
    if linen is not None:
        return _linen(linen, args, kwargs), args[1:]
    if _is(model, "equinox", "Module") and any(map(_is_parameter, leaves_of(model))):
        return _equinox(model), args
    if _is(model, "haiku", "Transformed", "TransformedWithState"):
        return _haiku(model, args), args[1:]
    if not callable(model):
        raise ArgumentError(f"the model is {_kind(model)}; {ACCEPTED}")
    if not args:
        raise ArgumentError(f"{_title(model)} is a function without its parameters; {ACCEPTED}")
    return _function(model, args[0]), args[1:]


def _refuse(model: Any) -> None:
    """Raise ArgumentError for what looks like a model of JAX and is none."""
    if isinstance(model, type):
        raise ArgumentError(f"the model is the class {model.__name__}. Create an instance first")
    if _is(model, "keras", "Layer"):
        raise ArgumentError(f"{_title(model)} is a Keras model. Use isoinit.keras instead")
    if _is(model, "torch.nn", "Module"):
        raise ArgumentError(f"{_title(model)} is a torch module. Use isoinit.plan instead")
    if _is(model, "haiku", "MultiTransformed", "MultiTransformedWithState"):
        raise ArgumentError(
            "the model comes from hk.multi_transform and has several functions. Pass one of them, "
            "as (lambda params, x: model.apply[0](params, rng, x), params, x)"
        )


def _is(model: Any, module: str, *classes: str) -> bool:
    """Whether a model is of a class of a library, which is not loaded for it."""
    library = sys.modules.get(module)
    found = (getattr(library, name, None) for name in classes)
    return any(isinstance(kind, type) and isinstance(model, kind) for kind in found)


def _kind(model: Any) -> str:
    kind = type(model)
    return f"of type {kind.__module__}.{kind.__qualname__}".replace("builtins.", "")


def _title(model: Any) -> str:
    """Return the name of a function, or of a model's class."""
    while isinstance(model, functools.partial):
        model = model.func
    owner = getattr(model, "__self__", None)
    if inspect.ismethod(model) and not isinstance(owner, type):
        return type(owner).__name__
    return str(getattr(model, "__name__", type(model).__name__))


def _is_parameter(leaf: Leaf) -> bool:
    """Whether a leaf is a parameter: an array that is no key, and no running state of Flax NNX."""
    if not is_array(leaf.value) or is_key(leaf.value):
        return False
    kind = getattr(leaf.box, "type", None)  # what a state held before Flax 0.12 has the class here
    if isinstance(kind, type):
        return issubclass(kind, sys.modules["flax.nnx"].Param)
    return _is(leaf.box, "flax.nnx", "Param") or not _is(leaf.box, "flax.nnx", "Variable")


def _is_array(leaf: Leaf) -> bool:
    return is_array(leaf.value)


def _is_state(leaf: Leaf) -> bool:
    return _is_array(leaf) and not _is_parameter(leaf)


# One tree that holds parameters, state and settings together


def _function(apply: Callable[..., Any], tree: Any) -> Form:
    params, state = Part.of(tree, _is_parameter), Part.of(tree, _is_state)

    def run(p: Any, s: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return apply(state.put(params.put(tree, p), s), *args, **kwargs)

    return Form(
        "function", _title(apply), params.tree, state.tree, run, functools.partial(params.put, tree)
    )


def _equinox(module: Any) -> Form:
    if not callable(module):
        raise ArgumentError(
            f"{_title(module)} has no __call__. Pass (lambda module, x: ..., module, x) with a "
            "function that calls one of its methods"
        )
    params, state = Part.of(module, _is_parameter), Part.of(module, _is_state)

    def run(p: Any, s: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return state.put(params.put(module, p), s)(*args, **kwargs)

    return Form(
        "equinox",
        type(module).__name__,
        params.tree,
        state.tree,
        run,
        functools.partial(params.put, module),
        holds=True,
    )


# Flax NNX: an object that holds its own


def _nnx(module: Any) -> Form:
    nnx = sys.modules["flax.nnx"]
    graph, own, others = nnx.split(module, nnx.Param, ...)
    params, state = Part.of(own, _is_parameter), Part.of(others, _is_array)

    def merged(p: Any, s: Any) -> Any:
        """Make a new module. `put` makes new Variables: `split` gives the module's own."""
        return nnx.merge(graph, params.put(own, p), state.put(others, s))

    def run(p: Any, s: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return merged(p, s)(*args, **kwargs)

    return Form(
        "nnx",
        type(module).__name__,
        params.tree,
        state.tree,
        run,
        lambda p: merged(p, state.tree),
        lambda p: nnx.update(module, params.put(own, p)),
        _shared(nnx, module, named_leaves(params.tree)),
        holds=True,
    )


def _shared(nnx: Any, module: Any, names: Mapping[str, Any]) -> dict[str, str]:
    """Return the further names of Variables that are reached on several ways."""
    ways: dict[int, list[list[str]]] = {}
    for path, variable in _variables(nnx, module, (), ()):
        spelled = [leaf.name for leaf in leaves_of(variable, before=path) if is_array(leaf.value)]
        ways.setdefault(id(variable), []).append(spelled)
    aliases: dict[str, str] = {}
    for spellings in ways.values():
        first = next((each for each in spellings if each and each[0] in names), None)
        if first is not None:
            for others in spellings:
                aliases |= {o: f for o, f in zip(others, first, strict=True) if o != f}
    return aliases


def _variables(
    nnx: Any, node: Any, path: KeyPath, above: tuple[int, ...]
) -> Iterator[tuple[KeyPath, Any]]:
    """Yield each Variable below a node on each way to it; `above` breaks circles."""
    plain = getattr(nnx, "Pytree", None) or nnx.Object  # before Flax 0.12, which made a tree of it
    nodes, above = (nnx.Variable, nnx.Module, plain), (*above, id(node))
    opened = iter([True])  # the node itself, which is asked about first; it may hold itself, too
    tree = vars(node) if plain is nnx.Object and isinstance(node, plain) else node
    inside = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda each: not next(opened, False) and isinstance(each, nodes)
    )[0]
    for keys, item in inside:
        if isinstance(item, nnx.Variable):
            yield path + keys, item
        elif isinstance(item, nodes) and id(item) not in above:
            yield from _variables(nnx, item, path + keys, above)


# Flax Linen and Haiku: parameters and state side by side


def _linen_module(model: Any) -> Any:
    """Return the Linen module that is meant by itself or by its method `apply`; None if none is."""
    if inspect.ismethod(model) and model.__name__ == "apply":
        model = model.__self__
    return model if _is(model, "flax.linen", "Module") else None


def _linen(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Form:
    title = type(module).__name__
    if not args or not isinstance(args[0], Mapping):
        found = f"got an object {_kind(args[0])}" if args else "they are missing"
        raise ArgumentError(
            f"the Linen module {title} needs its variables as the next argument ({found}). Pass "
            "(module, variables, *inputs). Variables from jax.eval_shape(module.init, key, "
            "*inputs) need no memory"
        )
    given = args[0]
    bare = "params" not in given
    if bare and (fault := _not_bare(module, given, args[1:], kwargs)):
        raise ArgumentError(fault)
    whole = given if bare else given["params"]
    others = {} if bare else {name: given[name] for name in given if name != "params"}
    params, variables = Part.of(whole, _is_parameter), Part.of(others, _is_array)
    # Linen falls back on the stream "params", whatever stream a module asks for.
    state = {"rngs": {"params": jax.random.key(0)}, "variables": variables.tree}

    def run(p: Any, s: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        collections = variables.put(others, s["variables"])
        mutable: Any = list(others) or False
        result = module.apply(
            {"params": params.put(whole, p), **collections},
            *args,
            rngs=s["rngs"],
            mutable=mutable,
            **kwargs,
        )
        return result[0] if others else result

    def replaced(p: Any) -> Any:
        new = params.put(whole, p)
        if bare:
            return new
        both = {name: new if name == "params" else given[name] for name in given}
        kind: Any = type(given)
        return both if isinstance(given, dict) else kind(both)

    return Form("linen", title, params.tree, state, run, replaced)


def _not_bare(
    module: Any, given: Mapping[str, Any], inputs: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str:
    """Return what is wrong with variables without "params"; "" if they are the params themselves.

    The module's own `init` decides, on abstract values: a collection may have any name.
    """
    call = Call.of(inputs, kwargs)

    def init(*inputs: Any) -> Any:
        args, named = call.arguments(inputs)
        return module.init(jax.random.key(0), *args, **named)

    held = ", ".join(map(str, given)) or "nothing"
    fault = f'the variables hold no collection "params": they hold {held}. Pass all of module.init'
    try:
        own = jax.eval_shape(init, *call.inputs)
    except Exception as failure:  # of any kind: it is the model's
        return f'{fault}, or {{"params": params}} (init raised {type(failure).__name__})'
    wanted = {n: leaf.shape for n, leaf in named_leaves(own.get("params", {})).items()}
    return "" if {n: leaf.shape for n, leaf in named_leaves(given).items()} == wanted else fault


def _haiku(transformed: Any, args: tuple[Any, ...]) -> Form:
    stateful = _is(transformed, "haiku", "TransformedWithState")
    pair = args[0] if args and isinstance(args[0], tuple) and len(args[0]) == 2 else None
    whole, others = pair if stateful and pair else (args[0] if args else None, {})
    if not isinstance(whole, Mapping) or (stateful and not pair):
        found = f"got an object {_kind(args[0])}" if args else "they are missing"
        wanted = "(params, state), as init returns them," if stateful else "params"
        raise ArgumentError(
            f"a Haiku {type(transformed).__name__} needs {wanted} as the next argument ({found}). "
            f"Pass (transformed, {'(params, state)' if stateful else 'params'}, *inputs)"
        )
    params, state = Part.of(whole, _is_parameter), Part.of(others, _is_array)
    before = 2 if stateful else 1
    takes = list(inspect.signature(transformed.apply).parameters)
    random = takes[before : before + 1] == ["rng"]  # hk.without_apply_rng takes it away

    def run(p: Any, s: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first = [params.put(whole, p)]
        first += [state.put(others, s["state"])] if stateful else []
        first += [s["rng"]] if random else []
        result = transformed.apply(*first, *args, **kwargs)
        return result[0] if stateful else result

    def replaced(p: Any) -> Any:
        new = params.put(whole, p)
        return (new, others) if stateful else new

    held = {"state": state.tree} if stateful else {}
    return Form(
        "haiku",
        _title(getattr(transformed.init, "_original_fn", transformed)),
        params.tree,
        held | ({"rng": jax.random.key(0)} if random else {}),
        run,
        replaced,
    )
