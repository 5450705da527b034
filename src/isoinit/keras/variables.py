"""The variables of a Keras model: found by path, filled in NumPy, assigned one by one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np

from isoinit._planning.plan import Plan
from isoinit._writing.entry import Entry
from isoinit._writing.slice import fill_slice
from isoinit.errors import ArgumentError, IsoinitError, PlanError, TraceError

Variables = dict[str, Any]  # by path; keras.Variable, which is another class under each backend
ROWS, PLACES = 4, 32  # what an example has where a model's input leaves the size open


def trainable(model: Any) -> Variables:
    """Return the trainable variables of a built model, by path.

    Raises:
        ArgumentError: if it is no model of Keras, is not built, has none, or has two with one path.
    """
    _require_model(model)
    if not model.built:
        raise ArgumentError(
            f"the model {model.name!r} is not built: its variables do not exist yet. Pass an "
            "example input x, or call the model once first"
        )
    found = model.trainable_variables
    if not found:
        raise ArgumentError(
            f"the model {model.name!r} has no trainable variables: there is nothing to initialize. "
            "Set layer.trainable = True on the layers that you want initialized"
        )
    twice = [path for path, count in Counter(v.path for v in found).items() if count > 1]
    if twice:
        raise ArgumentError(
            f"two variables have the path {twice[0]!r}, so they would get the same random "
            "numbers. Give their layers different names"
        )
    return {variable.path: variable for variable in found}


def example_for(model: Any, x: Any) -> Any:
    """Return an example input as tensors of the backend; a model that is not built is built on it.

    Raises:
        ArgumentError: if there is no example and none can be made, or it holds no arrays.
        TraceError: if the model cannot be built on it.
    """
    _require_model(model)
    given = _made_up(model) if x is None else x
    if not keras.tree.flatten(given):
        raise ArgumentError("x holds no arrays; expected an example input, as for model(x)")
    try:
        given = keras.tree.map_structure(keras.ops.convert_to_tensor, given)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"x cannot be converted to tensors ({first_words(error)}); expected an array, or a "
            "list or dict of arrays, as for model(x)"
        ) from error
    if not model.built:
        try:
            model(given)
        except Exception as error:  # any error of the model's own code
            raise refused(error) from error
    return given


def refused(error: BaseException) -> TraceError:
    """Return the error for a model that refuses an example, quoting its own."""
    return TraceError(
        f"model(x) failed: {type(error).__name__}: {first_words(error)}. Pass an x that the model "
        "accepts; no value was changed"
    )


def first_words(error: BaseException) -> str:
    """Return the message of an error in one line, without the colours that Keras puts in."""
    text = str(error).replace("\x1b[1m", "").replace("\x1b[0m", "")
    return " ".join(text.split()).rstrip(".")


def _require_model(model: Any) -> None:
    if not isinstance(model, keras.layers.Layer):
        raise ArgumentError(
            f"model is a {type(model).__module__}.{type(model).__name__}; expected a model or a "
            "layer of Keras 3 (for a torch module, call isoinit.plan)"
        )


def _made_up(model: Any) -> Any:
    """Return an example of the shapes that a functional or sequential model declares."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        state = "declares no inputs" if model.built else "is not built"
        raise ArgumentError(
            f"the model {model.name!r} {state}, so isoinit cannot make an example input. Pass x, "
            "an example input as for model(x)"
        )
    # A functional model also tells whether it takes a list or a dict; a sequential one has one input.
    declared = getattr(model, "input", inputs[0])
    rng = np.random.default_rng(0)

    def example(spec: Any) -> np.ndarray[Any, Any]:
        rows, *places = spec.shape
        shape = (rows or ROWS, *(size or PLACES for size in places))
        if "float" not in spec.dtype:
            return np.zeros(shape, spec.dtype)
        return rng.standard_normal(shape).astype(np.float32)

    return keras.tree.map_structure(example, declared)


def assign(plan: Plan, variables: Variables, seed: int) -> None:
    """Assign what a plan draws under a seed; all is checked before the first variable changes.

    Raises:
        PlanError: if the variables are not those of the plan, or one cannot hold its values.
    """
    _refuse_mismatch(plan, variables)
    drawn = [e for e in plan if e.initializer is not None]
    for entry in drawn:
        _refuse_unfillable(entry)
    for entry in drawn:
        variables[entry.name].assign(_values(entry, seed))


def _values(entry: Entry, seed: int) -> np.ndarray[Any, Any]:
    """Return the values of one variable as an array: float32 for bfloat16, of the same numbers."""
    brain = entry.dtype == "bfloat16"  # its bits are the upper half of those of float32
    array = np.empty(entry.shape, np.uint16 if brain else entry.dtype)
    assert entry.initializer is not None, "the caller asks"
    where = tuple(slice(None) for _ in entry.shape)
    fill_slice(array, entry.initializer, entry.key, entry.shape, where, seed, layout=entry.layout)
    return (array.astype(np.uint32) << 16).view(np.float32) if brain else array


def _refuse_unfillable(entry: Entry) -> None:
    assert entry.initializer is not None, "the caller asks"
    try:
        entry.require_fit(entry.initializer)
    except IsoinitError as error:
        raise PlanError(f"no variable was changed: {entry.name!r}: {error}") from None


def _refuse_mismatch(plan: Plan, variables: Variables) -> None:
    """Raise `PlanError` if a plan was made for other variables."""
    faults = [f"{path!r} is not in the plan" for path in variables if path not in plan]
    faults += [f"{name!r} is not in the model" for name in plan.entries if name not in variables]
    for path, variable in variables.items():
        if path in plan:
            made, is_ = plan[path], (tuple(variable.shape), variable.dtype)
            if is_ != (made.shape, made.dtype):
                faults.append(
                    f"{path!r} has shape {is_[0]} and dtype {is_[1]}, but in the plan "
                    f"{made.shape} and {made.dtype}"
                )
    if faults:
        few = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" * (len(faults) > 3))
        raise PlanError(
            f"no variable was changed: the plan was made for another model ({few}). Keras numbers "
            "the names of layers within a process. Name the layers yourself, or make a new plan"
        )
