"""What a model is to isoinit: named parameters, and a pure function to trace.

`model_of` takes what users pass to one verb; `traced` reads its jaxpr, on abstract values alone.
How names are spelled says `isoinit.jax.spelling`.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from isoinit.errors import ArgumentError, PlanError, TraceError
from isoinit.jax.forms import Form, form_of
from isoinit.jax.parts import Call, sized
from isoinit.jax.spelling import is_inexact, named_leaves, with_leaves


@dataclass(frozen=True)
class Model:
    """A model of any JAX library, as a pure function of its parameters.

    The model that it came from is never changed, except by `assign`.

    Attributes:
        library: "function", "nnx", "linen", "equinox" or "haiku".
        name: the name of the model's class or function.
        params: the pytree of parameters, concrete or abstract, without what is no array: an Equinox
            module has None in the place of its settings. Its leaves are those of `names`, in order.
        names: shape and type of each array in `params` by name, integers too; see `kept`.
        state: a pytree of the other arrays that the model computes with: running statistics, keys of
            random numbers. `{}` if there are none.
        inputs: what it is called with: the arguments by place, then one dict of the arrays among those
            by name, if any.
        apply: `apply(params, state, *inputs)` returns what the model returns. It is pure: updates of
            the state are dropped.
        aliases: further names of shared parameters of Flax NNX, and the name that each shares with.
    """

    library: str
    name: str
    params: Any
    names: dict[str, jax.ShapeDtypeStruct]
    state: Any
    inputs: tuple[Any, ...]
    apply: Callable[..., Any]
    aliases: dict[str, str]
    form: Form

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of arrays that are no real or complex numbers: they are not drawn."""
        return tuple(name for name, leaf in self.names.items() if not is_inexact(leaf))

    def called(self, params: Mapping[str, Any], rest: Sequence[Any]) -> Any:
        """Return what the model returns for other parameters, and for other state and inputs.

        Args:
            params: by name.
            rest: the leaves of the state, then those of the inputs.
        """
        structure = jax.tree_util.tree_structure((self.state, self.inputs))
        state, inputs = jax.tree_util.tree_unflatten(structure, rest)
        return self.apply(with_leaves(self.params, params), state, *inputs)

    def replaced(self, params: Any) -> Any:
        """Return what the user passed as the model's parameters, with others in their place.

        Args:
            params: a tree like `params`.

        Returns:
            A new tree of a function's parameters, Linen's variables (with their other collections),
            Haiku's params (or params and state), a new Equinox module, or a new NNX module.

        Raises:
            PlanError: if a leaf is missing, not known, or has another shape or type.
        """
        self.require_fit(params)
        return self.form.replaced(params)

    def assign(self, params: Any) -> None:
        """Write other parameters into a Flax NNX module, in place.

        Args:
            params: a tree like `params`. All of it is compared before anything is written.

        Raises:
            ArgumentError: if the model does not hold its parameters: use what `replaced` returns.
            PlanError: if a leaf is missing, not known, or has another shape or type.
        """
        if self.form.assign is None:
            raise ArgumentError(
                f"{self.name} ({self.library}) cannot be changed in place. Use the returned "
                "parameters"
            )
        self.require_fit(params)
        self.form.assign(params)

    def require_fit(self, params: Any) -> None:
        """Raise PlanError if other parameters do not fit in the places of these."""
        given = {name: abstract(leaf) for name, leaf in named_leaves(params).items()}
        for name in {**self.names, **given}:
            mine, other = self.names.get(name), given.get(name)
            if mine is None or other is None:
                which = "is missing" if other is None else "is not known"
                raise PlanError(
                    f"the parameter {name!r} {which}: the tree differs from the parameters of "
                    f"{self.name}; nothing was changed"
                )
            if (mine.shape, mine.dtype) != (other.shape, other.dtype):
                raise PlanError(
                    f"the parameter {name!r} of {self.name} is {shown(mine)}, but {shown(other)} "
                    "was given; nothing was changed"
                )


def model_of(model: Any, *args: Any, kwargs: Mapping[str, Any] | None = None) -> Model:
    """Return a model of any library as a pure function of named parameters.

    Args:
        model: a function `apply(params, *inputs)`, a Flax NNX, Flax Linen or Equinox module, or what
            `haiku.transform` returns. Linen's bound `module.apply` means the module.
        args: a function's pytree of parameters, Linen's variables (or its params alone), Haiku's
            params (or params and state), and nothing for NNX and Equinox; then the inputs.
            Parameters, state and inputs may all be `jax.ShapeDtypeStruct`.
        kwargs: arguments by name. Arrays among them are inputs; all else are settings, such as
            `{"train": False}`. None by default.

    Raises:
        ArgumentError: if the model is of no such kind or has no parameters, if two parameters have the
            same name, if inputs are missing, hold no arrays or have a size that is not known.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}
        >>> model = model_of(lambda p, x: jnp.tanh(x @ p["w"] + p["b"]), params, jnp.ones((8, 3)))
        >>> model.library, list(model.names)
        ('function', ['b', 'w'])
        >>> model.apply(model.params, model.state, *model.inputs).shape
        (8, 2)
    """
    form, inputs = form_of(model, args, kwargs or {})
    sized("params", form.params)
    names = {name: abstract(leaf) for name, leaf in named_leaves(form.params).items()}
    if not any(map(is_inexact, names.values())):
        raise ArgumentError(f"{form.name} has no parameters: {_held(names)}")
    sized("state", form.state)
    call = Call.of(inputs, kwargs or {})

    def apply(params: Any, state: Any, *inputs: Any) -> Any:
        args, named = call.arguments(inputs)
        return form.run(params, state, args, named)

    return Model(
        form.library,
        form.name,
        form.params,
        names,
        form.state,
        call.inputs,
        apply,
        form.aliases,
        form,
    )


def traced(model: Model) -> tuple[Any, Any]:
    """Return the jaxpr of a model's apply, and the structure of what it returns.

    Nothing is computed, and no memory is taken for parameters or inputs. The jaxpr's arguments are the
    parameters in the order of `Model.names`, then the leaves of the state, then those of the inputs.

    Returns:
        A `jax.core.ClosedJaxpr`, and a `jax.tree_util.PyTreeDef`.

    Raises:
        TraceError: if the model raises, quoting its error and the user's line that it came from; or if
            it returns no array.

    Example:
        >>> import jax.numpy as jnp
        >>> model = model_of(lambda p, x: x * p["w"], {"w": jnp.ones(3)}, jnp.ones((2, 3)))
        >>> jaxpr, tree = traced(model)
        >>> [equation.primitive.name for equation in jaxpr.eqns][-1], tree
        ('mul', PyTreeDef(*))
    """
    arguments = jax.tree_util.tree_map(abstract, (model.params, model.state, model.inputs))
    params, state, inputs = arguments
    try:
        jaxpr, out = jax.make_jaxpr(model.apply, return_shape=True)(params, state, *inputs)
    except Exception as failure:  # of any kind: it is the model's
        raise explained(failure, model) from failure
    if not jaxpr.out_avals:
        raise TraceError(
            f"{model.name} returned no array; expected an array, or a pytree with at least one"
        )
    return jaxpr, jax.tree_util.tree_structure(out)


def abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return shape and type of an array, of the type that JAX computes with: float32 for float64."""
    weak = bool(getattr(leaf, "weak_type", False))
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(leaf.shape, dtype, weak_type=weak)


def shown(leaf: Any) -> str:
    """Return type and shape of an array as text: `float32[3, 2]`."""
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"


def _held(names: Mapping[str, Any]) -> str:
    few = ", ".join(f"{name} of {leaf.dtype}" for name, leaf in list(names.items())[:3])
    found = (
        f"its arrays do not hold real or complex numbers ({few})" if names else "it holds no arrays"
    )
    return f"{found}. Pass JAX or NumPy arrays, or jax.ShapeDtypeStruct"


# Errors of the user's code

# What asks for a value that is not there while a function is traced.
_WANT_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
_LIBRARIES = ("jax", "flax", "equinox", "haiku", "jaxtyping")


def explained(failure: Exception, model: Model) -> TraceError:
    """Return the model's own error, with the line of the user's code that it came from."""
    frames = traceback.extract_tb(failure.__traceback__)
    theirs = [frame for frame in frames if not _is_ours(frame.filename)]
    line = f' at {theirs[-1].filename}:{theirs[-1].lineno} "{theirs[-1].line}"' if theirs else ""
    leaves = jax.tree_util.tree_leaves(model.inputs)
    given = ", ".join(shown(leaf) for leaf in leaves[:4]) + ", …" * (len(leaves) > 4)
    own = str(failure).strip()
    hint = "Pass inputs (and settings in kwargs=) that a call of the model accepts"
    if isinstance(failure, _WANT_VALUES):
        own = own.splitlines()[0]  # the rest speaks of what JAX was called with
        hint = (
            "It uses the value of an array in Python code, such as in `if`, but a traced array "
            "has no value. Use jnp.where or jax.lax.cond, or pass the setting in kwargs="
        )
    return TraceError(
        f"{model.name} failed while it was traced with inputs {given}{line}: "
        f"{type(failure).__name__}: {own.rstrip('.')}. {hint}; nothing was changed"
    )


def _is_ours(filename: str) -> bool:
    """Whether a frame is of JAX, its libraries, Python's library or isoinit: else it is the user's."""
    if filename.startswith(tuple(_homes())):
        return True
    inside = Path(filename).parts
    return filename.startswith(_PYTHON) and not {"site-packages", "dist-packages"} & set(inside)


_PYTHON = sysconfig.get_paths()["stdlib"] + os.sep


def _homes() -> list[str]:
    """The folders of isoinit and of the libraries that are loaded."""
    loaded = [sys.modules[name] for name in _LIBRARIES if name in sys.modules]
    files = [Path(str(module.__file__)) for module in loaded if getattr(module, "__file__", None)]
    return [str(path.parent) + os.sep for path in (*files, Path(__file__).parent)]
