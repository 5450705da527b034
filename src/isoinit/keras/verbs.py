"""What a user calls: `plan`, `apply`, and `init`, which does both."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isoinit._planning.plan import Plan
from isoinit._system.packages import needs
from isoinit._writing.seeds import as_whole
from isoinit.errors import ArgumentError
from isoinit.initializers import Initializer

if TYPE_CHECKING:
    import keras


def plan(
    model: keras.Model | keras.Layer,
    x: Any = None,
    *,
    method: str = "auto",
    overrides: Mapping[str, Initializer] | None = None,
) -> Plan:
    """Return the initializer of every trainable variable, with a reason and a source.

    The model runs once on abstract values, in training mode. No value is changed, and no moving
    statistic is updated. A model that is not built yet is built first, by one call on `x`.

    What a layer asks for by an option that is not its class's default is kept if it is one number:
    `bias_initializer=keras.initializers.Constant(-4.6)`, `unit_forget_bias=False`. `Plan.kept` lists
    these variables. Other initializers of layers are not followed, and `Plan.warnings` names theirs.

    Args:
        model: a model or a layer of Keras, under the JAX or the PyTorch backend.
        x: an example input, as for `model(x)`: an array, or a list or dict of arrays. Without one, an
            example is made from the inputs that a functional or sequential model declares.
        method: as for `isoinit.plan`. One that is asked for decides over what layers ask for.
        overrides: other initializers by path, glob or role, as for `isoinit.Plan.override`.

    Returns:
        The plan. Print it for a table, `save` it, and pass it to `isoinit.keras.apply`.

    Raises:
        ArgumentError: if `model` is no model of Keras, is not built and there is no `x`, has no
            trainable variables or two with one path, or runs under another backend; or as
            `isoinit.plan` does.
        TraceError: if the model refuses `x`, with Keras's own error.
        PackageError: if Keras is not installed.

    Example:
        >>> import os
        >>> _ = os.environ.setdefault("KERAS_BACKEND", "jax")  # or "torch", before Keras is imported
        >>> import keras, isoinit.keras
        >>> layers = [keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(2)]
        >>> model = keras.Sequential(layers, name="net")
        >>> print(isoinit.keras.plan(model)[model.weights[2].path].role)
        weight of the output
    """
    with needs("keras", "isoinit.keras.plan"):
        from isoinit.keras.reading import read

    return read(model, x, method=method, overrides=overrides)


def apply(plan: Plan, model: keras.Model | keras.Layer, seed: int | None = 0) -> None:
    """Assign to every variable of a plan the values that it draws under a seed.

    Everything is checked before the first variable is assigned. The values go through
    `variable.assign`: the optimizer, its state, and compiled functions stay valid.

    Args:
        plan: what `isoinit.keras.plan` made, perhaps changed or loaded.
        model: a built model whose trainable variables are those of the plan.
        seed: any integer. One seed gives the same values on every backend. None draws one from
            the system; `plan.seed` has it then.

    Raises:
        ArgumentError: if `plan` is no plan, `model` no built model of Keras, or the seed no whole
            number.
        PlanError: if paths, shapes or types differ from the plan's, or a variable cannot hold what the
            plan gives it. Nothing was changed then.

    Example:
        >>> import os
        >>> _ = os.environ.setdefault("KERAS_BACKEND", "jax")  # or "torch", before Keras is imported
        >>> import isoinit, keras, isoinit.keras
        >>> layers = [keras.Input((64,)), keras.layers.Dense(2, name="out")]
        >>> model = keras.Sequential(layers, name="net")
        >>> plan = isoinit.keras.plan(model)
        >>> plan["net/out/bias"] = isoinit.Constant(0.5)
        >>> isoinit.keras.apply(plan, model, seed=1)
        >>> keras.ops.convert_to_numpy(model.weights[1]).tolist()
        [0.5, 0.5]
    """
    with needs("keras", "isoinit.keras.apply"):
        from isoinit.keras.variables import assign, trainable

    if not isinstance(plan, Plan):
        raise ArgumentError(
            f"plan is a {type(plan).__name__}; expected a plan from isoinit.keras.plan"
        )
    used = secrets.randbits(63) if seed is None else as_whole(seed, "to draw one from the system")
    assign(plan, trainable(model), used)
    plan.seed = used


def init(
    model: keras.Model | keras.Layer,
    x: Any = None,
    seed: int | None = 0,
    *,
    method: str = "auto",
    overrides: Mapping[str, Initializer] | None = None,
) -> Plan:
    """Plan the initial values of a model's trainable variables, and assign them.

    Args:
        model: as for `plan`.
        x: as for `plan`.
        seed: as for `apply`.
        method: as for `plan`.
        overrides: as for `plan`.

    Returns:
        The plan that was applied.

    Raises:
        IsoinitError: as `plan` and `apply` do. No value was changed then.

    Example:
        >>> import os
        >>> _ = os.environ.setdefault("KERAS_BACKEND", "jax")  # or "torch", before Keras is imported
        >>> import keras, isoinit.keras
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(2, name="out")])
        >>> plan = isoinit.keras.init(model, seed=1)
        >>> print(len(plan), plan.seed)
        2 1
    """
    chosen = plan(model, x, method=method, overrides=overrides)
    apply(chosen, model, seed)
    return chosen
