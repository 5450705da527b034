"""`check`: is the signal alive in this JAX model, forward and backward?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from isoinit._planning.plan import Plan
from isoinit._reading.jax import Traced
from isoinit._reading.outline import outline
from isoinit._reading.roles import Role
from isoinit._showing.findings import Finding, errors_first, listed
from isoinit._system.alone import alone
from isoinit._verifying.health.arrays.weights import equal_groups, measure_weights
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.judge import judge
from isoinit._verifying.health.planned import Planned, tell_expected, with_planned, worked_out
from isoinit._verifying.health.results import Health, refuse_optimizer
from isoinit._verifying.health.table import kinds_of
from isoinit._verifying.health.words import JAX
from isoinit._verifying.targets import called, needed, without_targets
from isoinit.errors import ArgumentError, PlanError
from isoinit.initializers import Blocks, Initializer
from isoinit.jax.ahead import has_influence, look_ahead
from isoinit.jax.jacobian import singular_values
from isoinit.jax.measured import Measuring
from isoinit.jax.models import Model, model_of
from isoinit.jax.passes import Came, Loss
from isoinit.jax.shardings import by_compiler
from isoinit.jax.spelling import named_leaves
from isoinit.jax.verbs import read_of, read_roles_of

CLOSE = 1e-5  # relative: a loss of float32 that is meant to be ln C


def check(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    loss: Any = None,
    plan: Plan | None = None,
    lr: float | None = None,
    optimizer: str = "adam",
    jacobian: bool = False,
) -> Health:
    """Return a check of a JAX model: the signal and gradient of each layer, and a verdict.

    It runs one forward and one backward pass on the inputs, jitted as one function. The model is not
    changed: updates of its state are dropped.

    Args:
        model: as for `isoinit.jax.plan`. Its parameters hold values.
        inputs: real examples, and more than a few, because sizes are averages. For a function, Linen
            and Haiku the parameters come first, as for `isoinit.jax.plan`.
        kwargs: as for `isoinit.jax.plan`.
        loss: a function from the model's output to a scalar loss. It may also take the output and the
            targets, with a pair `(inputs, targets)` instead of the inputs. By default the output's
            own `loss` is used if it has one. Otherwise the gradient at the output is random, of unit
            size.
        plan: the plan that filled the model, made with inputs like these. Its expected size of each
            layer's output is then compared with the measured size.
        lr: the initial learning rate of the training. The first step is then compared with the
            weights.
        optimizer: the optimizer of that step: "adam" (also for AdamW) or "sgd".
        jacobian: whether to compute the singular values of the input–output Jacobian for one example.

    Returns:
        The health, as from `isoinit.check`. Layers of a scan are reported one by one.

    Raises:
        ArgumentError: for a model or inputs that `isoinit.jax.plan` does not accept, inputs without
            values, a loss without its targets, a loss that is not one real number or does not depend
            on the parameters, a learning rate that is not above zero, an unknown optimizer, or a
            Jacobian that is too large.
        PlanError: for parameters or a state without values in this process.
        TraceError: if the model or the loss fails, with its own error.

    Example:
        >>> import isoinit.jax as ij, jax, jax.numpy as jnp
        >>> params = {f"w{i}": jnp.zeros((32, 32)) for i in range(6)}
        >>> x = jax.random.normal(jax.random.key(0), (16, 32))
        >>> def apply(params, x):
        ...     for w in params.values():
        ...         x = jnp.tanh(x @ w)
        ...     return x
        >>> ij.check(apply, params, x).ok
        False
        >>> ij.check(apply, ij.init(apply, params, x), x)
        <Health: healthy, 6 layers>
    """
    inputs, alone_loss = inputs_and_loss(inputs, loss)
    refuse_optimizer(optimizer, lr)
    found = model_of(model, *inputs, kwargs=kwargs)
    with alone():
        refuse_valueless(found, found.params)
        health = Checking(found, read_of(found), alone_loss).health(
            found.params, plan, lr, optimizer
        )
        return replace(health, jacobian=singular_values(found) if jacobian else ())


class Checking:
    """A model that is checked, perhaps several times with other parameters.

    Args:
        model: the model.
        read: what was read of it.
        loss: of its output; None for the output's own, or a random gradient.
    """

    def __init__(self, model: Model, read: Traced, loss: Loss | None) -> None:
        self.model, self.read, self.loss = model, read, loss
        self.measuring = Measuring(model, read, loss)
        self._roles = read_roles_of(read.graph)
        leaves = jax.tree_util.tree_leaves((model.state, model.inputs))
        self._rest = list(map(by_compiler, leaves))
        self._chance: list[float | None] = []  # once known: it is that of the loss

    @np.errstate(all="ignore")  # what is not finite is what the findings tell
    def health(
        self, params: Any, plan: Plan | None, lr: float | None = None, optimizer: str = "adam"
    ) -> Health:
        """Return the health under some parameters, without a Jacobian.

        Args:
            params: a tree like that of the model, which holds values.
            plan: as for `check`.
            lr: as for `check`.
            optimizer: as for `check`.

        Raises:
            ArgumentError, TraceError: as `check` does.
        """
        measuring, read, roles, rest = self.measuring, self.read, self._roles, self._rest
        arrays = {name: by_compiler(leaf) for name, leaf in named_leaves(params).items()}
        measured, came = measuring.measure(arrays, rest)
        if not self._chance:
            self._chance.append(_chance(self.loss, came, measuring))
        measured = replace(measured, chance=self._chance[0])
        if came.loss is not None and not measured.began:
            raise ArgumentError(
                "loss does not depend on a trainable parameter; nothing was changed. Compute it "
                "from the model's output, without stop_gradient"
            )
        tell_expected(measured.layers, plan, read.parent)
        values = measuring.split(arrays)
        weights = measure_weights(values, roles, measured.gradients, lr, optimizer)
        facts = Facts(
            measured,
            weights,
            roles,
            values,
            measuring.trained,
            *_examples(self.model),
            (),
            optimizer,
            look_ahead(measuring, values, rest, optimizer, measured, weights, roles),
            None if plan is None else _given(plan, roles, read),
            lambda: worked_out(read.graph, roles),
            lambda names: has_influence(measuring, values, rest, names),
            lambda names: equal_groups(values, names),
            JAX,
        )
        return Health(
            errors_first([*judge(facts), *_doubtful(measuring, came)]),
            measured.layers,
            with_planned(weights, facts.given),
            measured.loss,
            measured.chance,
            (),
            kinds_of(roles),
            outline(read.graph, self.model.name, read.parent),
        )


def inputs_and_loss(inputs: tuple[Any, ...], loss: Any) -> tuple[tuple[Any, ...], Loss | None]:
    """Return what the model takes, and the loss as a function of its output alone."""
    if loss is None:
        return inputs, None
    name = str(getattr(loss, "__name__", type(loss).__name__))
    name = "your_loss" if name == "<lambda>" else name
    if isinstance(loss, type) or not callable(loss):
        said = f"the class {name}" if isinstance(loss, type) else f"{loss!r}, a {name}"
        raise ArgumentError(
            f"loss is {said}; expected a function of the model's output, or of the output and the "
            "targets with the inputs as a pair (inputs, targets)"
        )
    takes = needed(loss)
    if len(takes) < 2:
        return inputs, loss
    batch = inputs[-1] if inputs else None
    call = called(name, [parameter.name for parameter in takes])
    own, alone_loss = without_targets(batch, loss, takes, name, call)
    return (*inputs[:-1], *(own if isinstance(own, tuple) else (own,))), alone_loss


def refuse_valueless(model: Model, params: Any) -> None:
    """Raise for arrays without values: a check runs the model.

    Args:
        model: the model, for its state and inputs.
        params: its parameters, or others.
    """
    without = [name for name, leaf in named_leaves(params).items() if not _has_values(leaf)]
    if without:
        raise PlanError(
            f"nothing was measured: {listed([repr(n) for n in without])} of {model.name} have no "
            "values here. Fill them first with isoinit.jax.init(model, x) or params = "
            "plan.fill(params)"
        )
    if not all(map(_has_values, jax.tree_util.tree_leaves(model.state))):
        raise PlanError(
            f"nothing was measured: the state of {model.name} has no values here. Pass the state "
            "from its init, not only the shapes"
        )
    if not all(map(_has_values, jax.tree_util.tree_leaves(model.inputs))):
        raise ArgumentError(
            "nothing was measured: the inputs have no values here. Pass real examples instead of "
            "a jax.ShapeDtypeStruct, outside jit, with the whole of each array on this process"
        )


def _has_values(leaf: Any) -> bool:
    if isinstance(leaf, jax.core.Tracer):
        return False
    if isinstance(leaf, jax.Array):
        return leaf.is_fully_addressable and not leaf.is_deleted()
    return hasattr(leaf, "__array__")


def _chance(loss: Loss | None, came: Came, measuring: Measuring) -> float | None:
    """Return ln C where the loss is the mean cross-entropy over C classes, by what it gives.

    It gives ln C for logits that are all zero, and for others that are all the same. Of two classes
    with one logit it gives ln 2 for zeros.
    """
    leaves = came.outputs
    if loss is None or len(leaves) != 1 or not leaves[0].ndim or not leaves[0].size:
        return None
    if not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        return None
    shape, dtype = leaves[0].shape, leaves[0].dtype

    @jax.jit  # of an argument: XLA would work out constants of this size itself, slowly
    def given(fill: Any) -> Any:
        return loss(measuring.output([jnp.full(shape, fill, dtype)]))

    zeros, ones = float(given(0.0)), float(given(1.0))
    for classes, found in ((shape[-1], (zeros, ones)), (2, (zeros,))):
        level = math.log(classes)
        if level and all(abs(value - level) <= CLOSE * level for value in found):
            return level
    return None


def _examples(model: Model) -> tuple[int | None, bool]:
    """Return how many examples the inputs hold, and whether there are several that are the same."""
    leaves = [
        np.asarray(x) for x in jax.tree_util.tree_leaves(model.inputs) if x.ndim and _plain(x)
    ]
    counts = {len(leaf) for leaf in leaves}
    if len(counts) != 1:
        return None, False
    count = counts.pop()
    several = count > 1 and any(leaf.size for leaf in leaves)
    return count, several and all(bool((leaf == leaf[:1]).all()) for leaf in leaves)


def _plain(leaf: Any) -> bool:
    return not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def _given(plan: Plan, roles: Mapping[str, Role], read: Traced) -> Planned:
    """Return what a plan has for each parameter, block by block."""
    fills: dict[str, Initializer] = {}
    kept: list[str] = []
    for entry in plan:
        parts: Sequence[str] = read.blocks.get(entry.name, (0, (entry.name,)))[1]
        one = entry.initializer
        if one is None or entry.kept:
            kept += parts
            continue
        each = one.initializers if isinstance(one, Blocks) else (one,) * len(parts)
        fills |= {part: made for part, made in zip(parts, each, strict=False) if part in roles}
    return Planned(fills, roles, frozenset(kept))


def _doubtful(measuring: Measuring, came: Came) -> Iterator[Finding]:
    """Yield what of the model was not measured, or not as it trains."""
    if unseen := measuring.unseen(came):
        yield Finding(
            "not measured",
            "remark",
            tuple(unseen),
            float(len(unseen)),
            0.0,
            "a layer inside a loop of unknown length, or in a branch that data choose, is not shown",
            "the other findings do not speak of these layers",
            f"{listed(unseen)}: the output of the layer was not shown, so it was not measured",
        )
    for kind, names in measuring.ruled().items():
        names = list(dict.fromkeys(names))
        yield Finding(
            "gradient not measured",
            "remark",
            tuple(names),
            float(len(names)),
            0.0,
            "a function with a custom derivative decides which gradient it returns",
            "the gradients of parameters, and of layers outside, are those of training",
            f"{listed(names)}: the layer lies inside a function of jax.{kind}, so the gradient at its "
            "output was not measured",
        )
