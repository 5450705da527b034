"""Reads a Keras model by one run in which other values stand for its variables."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import keras

from isoinit._planning.plan import Plan
from isoinit._system.alone import alone
from isoinit.errors import ArgumentError, TraceError
from isoinit.keras.declared import declared, known, unfollowed
from isoinit.keras.variables import Variables, example_for, refused, trainable


def read(model: Any, x: Any, method: str, **options: Any) -> Plan:
    """Return the plan of a model.

    Args:
        model: the model; one that is not built is built on the example.
        x: an example input; None to make one.
        method: as for `isoinit.plan`.
        options: others of `isoinit.plan` that the reader of each backend has.

    Raises:
        ArgumentError: if the backend has no reader, or the model or the example does not fit.
        TraceError: if the model refuses the example.
    """
    backend = keras.config.backend()
    if backend not in READERS:
        raise ArgumentError(
            f"Keras runs under the {backend!r} backend, but isoinit cannot read it; expected "
            f"{' or '.join(map(repr, READERS))}. Set KERAS_BACKEND=torch or KERAS_BACKEND=jax "
            "before you import Keras. A plan saved under one of them can be applied under any "
            "backend"
        )
    example = example_for(model, x)
    variables = trainable(model)
    said = declared(model, variables)
    options |= {"method": method, "before": known(said, method)}
    try:
        plan = READERS[backend](model, variables, example, options)
    except TraceError as error:
        cause = error.__cause__
        raise (error if cause is None else refused(cause)) from cause
    plan.notes += unfollowed(plan, said)
    if plan.outline is not None:  # what was read is a function of the model
        plan.outline = replace(plan.outline, model=type(model).__name__)
    return plan


def called(model: Any, values: Iterable[tuple[Any, Any]], x: Any) -> Any:
    """Call a model in training mode with other values of its variables, which are not changed.

    Args:
        model: the model.
        values: variables, each with its value in this call; the others have their own.
        x: the input.
    """
    with keras.StatelessScope(state_mapping=list(values)):
        return model(x, training=True)


def _by_torch(model: Any, variables: Variables, x: Any, options: Mapping[str, Any]) -> Plan:
    from isoinit._planning.verbs import planned
    from isoinit.keras.module import Stateless

    def forward(values: Iterable[tuple[Any, Any]], leaves: list[Any]) -> Any:
        return called(model, values, keras.tree.pack_sequence_as(x, leaves))

    module = Stateless(forward, variables, model.non_trainable_variables)
    leaves = tuple(keras.tree.flatten(x))
    return planned(module, leaves, keep="frozen", recipe=None, **options)[0]


def _by_jax(model: Any, variables: Variables, x: Any, options: Mapping[str, Any]) -> Plan:
    import jax

    from isoinit.jax.models import model_of
    from isoinit.jax.verbs import planned

    def apply(values: Mapping[str, Any], *leaves: Any) -> Any:
        pairs = [(variable, values[path]) for path, variable in variables.items()]
        return called(model, pairs, keras.tree.pack_sequence_as(x, list(leaves)))

    parameters = OrderedDict(  # of which JAX keeps the order, and not of other dicts
        (path, jax.ShapeDtypeStruct(tuple(variable.shape), variable.dtype))
        for path, variable in variables.items()
    )
    with alone():
        return planned(model_of(apply, parameters, *keras.tree.flatten(x)), **options)[0]


READERS: dict[str, Callable[[Any, Variables, Any, Mapping[str, Any]], Plan]] = {
    "torch": _by_torch,
    "jax": _by_jax,
}
