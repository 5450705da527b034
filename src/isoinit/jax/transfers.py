"""The verb `transfer`: the plan and the optimizer of a large JAX model from a small one's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from isoinit._planning.entries import entries_of
from isoinit._planning.plan import Plan
from isoinit._planning.transfer.blocks import apart, together
from isoinit._planning.transfer.rules import Rules
from isoinit._planning.transfer.sizes import built, require_sizes, require_unit
from isoinit._planning.transfer.transferred import Planned, transferred, transferred_alone
from isoinit._planning.transfer.transfers import Transfer
from isoinit._system.alone import alone
from isoinit.errors import ArgumentError, TraceError
from isoinit.initializers import Initializer
from isoinit.jax.models import model_of
from isoinit.jax.runs import JaxRuns
from isoinit.jax.verbs import planned

PAIR = (
    "expected a module of Flax NNX or Equinox, or a pair of a model and its parameters, such as "
    "(apply, params) or (linen_module, variables)"
)


def transfer(
    model: Any,
    *inputs: Any,
    base: int | None = None,
    target: int | None = None,
    unit: float | None = None,
    kwargs: Mapping[str, Any] | None = None,
    optimizer: str = "adamw",
    decay: str = "mup",
    depth: str | None = "completep",
    method: str = "auto",
    overrides: Mapping[str, Initializer] | None = None,
) -> Transfer:
    """Return the initial scales and the optimizer of a large model, tuned on a small one.

    Call it as `transfer(base_model, target_model, x)`, as `transfer(build, x, base=64, target=256)`
    with a function of a size that builds a model, or as `transfer(model, x, unit=256)` for one model
    alone. The factors are those of `isoinit.transfer`: μP, CompleteP and the spectral condition, with
    what these put into the forward moved into the parameters. Both models are read and planned as
    `isoinit.jax.plan` does, which takes no memory for parameters. Nothing is trained, and nothing is
    changed.

    Args:
        model: the base, or a function that builds one of a size; with `unit`, the model itself. A
            model is a module of Flax NNX or Equinox. One that does not hold its parameters is a pair:
            `(apply, params)`, `(linen_module, variables)`, `(transformed, params)`.
        inputs: without `base` and `unit`, the larger model first; then what both are called with.
        base: for a function, its smaller argument: the size at which you tune.
        target: for a function, its larger argument.
        unit: for one model without a base, the hidden width for which the settings hold. Then heads
            and depth count as they are.
        kwargs: as for `plan`, for both models.
        optimizer: "adamw", "adam", "sgd" (with or without momentum), or "muon" (optax's, for hidden
            matrices, beside AdamW for the rest; "muon:match_rms_adamw" for its `consistent_rms`).
        decay: as for `isoinit.transfer`: "mup", "constant" or "sqrt".
        depth: as for `isoinit.transfer`: "completep", "mup" or None.
        method: as for `plan`, for both models.
        overrides: as for `plan`, for both models.

    Returns:
        The transfer. Print it for a table, fill parameters with `t.plan.fill(params, seed=0)`, and
        train them with `t.optimizer(learning_rate, weight_decay)`.

    Raises:
        ArgumentError: for an unknown option, an optimizer whose factors are not known, models and
            sizes that do not go together, or as `plan` does.
        PlanError: if the models differ in more than width and depth (naming a parameter without a
            counterpart), or the base is larger than the target.
        TraceError: if one of the models cannot be traced, saying which.

    Source: Yang et al. 2022 (arXiv 2203.03466), tables 3 and 8, Lemma J.1; Dey et al. 2025 (CompleteP,
    arXiv 2505.01618), table 1; Yang, Simon & Bernstein 2023 (arXiv 2310.17813).

    Example:
        >>> import isoinit.jax as ij, jax
        >>> def struct(*size):
        ...     return jax.ShapeDtypeStruct(size, "float32")
        >>> def apply(params, x):
        ...     x = jax.nn.relu(x @ params["first"])
        ...     return jax.nn.relu(x @ params["hidden"]) @ params["last"]
        >>> def build(n):
        ...     return apply, {"first": struct(8, n), "hidden": struct(n, n), "last": struct(n, 2)}
        >>> t = ij.transfer(build, struct(1, 8), base=64, target=256)
        >>> {name: factors.lr for name, factors in t.factors.items()}
        {'first': 1.0, 'hidden': 0.25, 'last': 0.25}
    """
    rules = Rules(optimizer, decay, depth, oriented=True)
    options = {"kwargs": kwargs, "method": method, "overrides": overrides}
    with alone():
        if unit is not None:
            if base is not None or target is not None:
                raise ArgumentError(
                    "unit= is for a single model without a base. Use transfer(model, x, "
                    "unit=256), or omit unit="
                )
            require_unit(unit)
            after, runs = _planned(model, "model", inputs, options)
            return Transfer(_whole(transferred_alone(after, rules, unit), runs))
        small, large, called, inputs = _models(model, inputs, base, target)
        before, _ = _planned(small, "base", inputs, options)
        after, runs = _planned(large, "target", inputs, options)
        return Transfer(_whole(transferred(before, after, rules, called), runs))


def _models(
    model: Any, inputs: tuple[Any, ...], base: int | None, target: int | None
) -> tuple[Any, Any, str, tuple[Any, ...]]:
    """Return the base, the target, the base in words, and the inputs.

    Raises:
        ArgumentError: if what was given is no pair of models.
    """
    if base is None and target is None:
        if len(inputs) < 2:
            raise ArgumentError(
                "a transfer needs two models and an input. Use transfer(base_model, target_model, "
                "x), or transfer(build, x, base=64, target=1024) with a function that builds a "
                "model"
            )
        _refuse_others(model, inputs[0])
        return model, inputs[0], _called(model), inputs[1:]
    sizes = require_sizes(base, target, "transfer(build, x, base=64, target=1024)")
    if type(model) is tuple or not callable(model):
        raise ArgumentError(
            f"base={base!r} needs a function that builds a model of a given size, but the model "
            f"is a {type(model).__name__}. Use transfer(base_model, target_model, x)"
        )
    small, large = (built(model, size) for size in sizes)
    _refuse_others(small, large)
    return small, large, f"{_called(small)} of size {base}", inputs


def _refuse_others(small: Any, large: Any) -> None:
    """Raise ArgumentError if one of two models is neither a model nor a pair."""
    for what, given in (("base", small), ("target", large)):
        if type(given) is not tuple and not callable(given):
            raise ArgumentError(f"the {what} is a {type(given).__name__}: {PAIR}")


def _parts(model: Any) -> tuple[Any, ...]:
    """Return what `plan` takes before the inputs; a transformed function of Haiku is a tuple too."""
    return model if type(model) is tuple else (model,)


def _called(model: Any) -> str:
    first = _parts(model)[0]
    return str(getattr(first, "__name__", type(first).__name__))


def _planned(
    given: Any, what: str, inputs: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[Planned, JaxRuns]:
    """Return a model with its plan, in which blocks of parameters have entries of their own.

    Raises:
        ArgumentError, TraceError: if it cannot be read, saying which of the two it is.
    """
    try:
        model = model_of(*_parts(given), *inputs, kwargs=options["kwargs"])
    except ArgumentError as error:
        pair = "" if type(given) is tuple else f"; {PAIR}"
        raise ArgumentError(f"the {what} cannot be read: {error}{pair}") from error
    try:
        chosen, decided, read = planned(model, options["method"], options["overrides"])
    except TraceError as error:
        raise TraceError(f"the {what} cannot be read: {error}") from error
    types = {name: model.names[read.parent(name)].dtype.name for name in decided.roles}
    plan = apart(chosen, entries_of(decided, types), read.blocks)
    runs = JaxRuns(model, read)
    return Planned(runs, plan, decided), runs


def _whole(plan: Plan, runs: JaxRuns) -> Plan:
    """Return the plan of a transfer with one entry for a parameter that is used in blocks."""
    assert plan.transfer is not None
    entries, notes = together(plan, runs.read.blocks)
    drawn = {name: e for name, e in entries.items() if name not in runs.model.kept}
    setting = replace(plan.transfer, notes=(*plan.transfer.notes, *notes))
    return replace(plan, entries=drawn, transfer=setting)
