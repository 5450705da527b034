"""`check`: is the signal alive in this model, forward and backward?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from isoinit._planning.before import values_before
from isoinit._planning.plan import Plan
from isoinit._reading.graph import Graph
from isoinit._reading.outline import outline
from isoinit._reading.roles import Role, read_roles
from isoinit._reading.torch import as_arguments, require_parameters, structure, unwrap
from isoinit._reading.torch.charts import weights_made
from isoinit._reading.torch.trees import tensors_in
from isoinit._system.alone import alone
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.judge import judge
from isoinit._verifying.health.planned import (
    Planned,
    given,
    tell_expected,
    with_planned,
    worked_out,
)
from isoinit._verifying.health.results import Health, refuse_optimizer
from isoinit._verifying.health.table import kinds_of
from isoinit._verifying.health.torch.ahead import look_ahead
from isoinit._verifying.health.torch.influence import has_influence
from isoinit._verifying.health.torch.jacobian import singular_values
from isoinit._verifying.health.torch.measure import measure
from isoinit._verifying.health.torch.same import equal_groups
from isoinit._verifying.health.torch.weights import measure_weights
from isoinit._verifying.health.words import TORCH
from isoinit._verifying.losses import GivenLoss, inputs_and_loss
from isoinit._verifying.sharded import local, whole
from isoinit._writing.postponed import unfilled
from isoinit._writing.refusals import refuse_unready
from isoinit.errors import PlanError


def check(
    model: nn.Module,
    batch: Any,
    *,
    loss: GivenLoss | None = None,
    plan: Plan | None = None,
    lr: float | None = None,
    optimizer: str = "adam",
    jacobian: bool = False,
) -> Health:
    """Return a check: the measured signal and gradient of each layer, and a verdict.

    It runs one forward and one backward pass on the batch, as a training step does: in the model's
    current mode, under the active `torch.autocast`, sharded or not. Parameters, gradients, buffers,
    mode, hooks and random generators of the model are restored afterwards. The model is not copied.

    Args:
        model: an initialized model.
        batch: real examples, as for `isoinit.plan`, and more than a few, because sizes are averages.
        loss: a function from the model's output to a scalar loss. It may also take the output and
            targets, as `torch.nn.CrossEntropyLoss()` does, with a batch `(inputs, targets)`. By
            default the output's own `loss` is used if it has one, as `transformers` models do if
            they get labels. Otherwise the gradient at the output is random, of unit size.
        plan: the plan that initialized the model, made with a batch like this one. Its expected size
            of each layer's output is then compared with the measured size.
        lr: the initial learning rate of the training. The first step is then compared with the
            weights.
        optimizer: the optimizer of that step: "adam" (also for AdamW) or "sgd".
        jacobian: whether to compute the singular values of the input–output Jacobian for one example
            by `torch.func`. It takes one backward pass for each output, up to 2²⁴ numbers.

    Raises:
        ArgumentError: for a batch that is not valid, a model without parameters, a loss without its
            targets, a loss that is not one number or does not depend on the parameters, a learning
            rate that is not above zero, an unknown optimizer, or a Jacobian that is too large.
        PlanError: for parameters on the meta device, of a dtype that cannot be trained, or built
            under `isoinit.deferred` and not filled yet.
        TraceError: if the forward pass fails, with the model's own error.

    Example:
        >>> import isoinit, torch
        >>> model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(20)])
        >>> batch = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
        >>> isoinit.check(model, batch).ok  # torch's default loses the signal
        False
        >>> _ = isoinit.init(model, batch, seed=0)
        >>> isoinit.check(model, batch).ok
        True
        >>> labels = torch.arange(32) % 64
        >>> isoinit.check(model, (batch, labels), loss=torch.nn.CrossEntropyLoss()).chance
        4.1588...
    """
    batch, loss = inputs_and_loss(batch, loss)
    with alone(), np.errstate(all="ignore"):  # findings tell what is not finite
        parameters, _ = require_parameters(model, "check")
        _refuse_unready(parameters, lr, optimizer)
        measured = measure(model, parameters, batch, loss)
        tell_expected(measured.layers, plan)
        roles = read_roles(measured.graph, lambda: structure(model))
        made = weights_made(model, measured.graph, whole)
        weights = measure_weights(parameters, roles, measured.gradients, lr, optimizer, made)
        examples, identical = _examples(batch)
        ahead = look_ahead(model, parameters, batch, loss, optimizer, measured, weights, roles)
        facts = Facts(
            measured,
            weights,
            roles,
            parameters,
            frozenset(name for name, p in parameters.items() if p.requires_grad),
            examples,
            identical,
            _resting(model),
            optimizer,
            ahead,
            None if plan is None else given(plan, roles),
            lambda: _choices(model, parameters, measured.graph, roles),
            lambda names: has_influence(model, parameters, batch, loss, names),
            lambda names: equal_groups(parameters, names),
            TORCH,
        )
        with torch.no_grad():
            found = judge(facts)
        return Health(
            found,
            measured.layers,
            with_planned(weights, facts.given),
            measured.loss,
            measured.chance,
            singular_values(model, batch) if jacobian else (),
            kinds_of(roles),
            outline(measured.graph, type(unwrap(model)).__name__),
        )


def _choices(
    model: nn.Module, parameters: dict[str, nn.Parameter], graph: Graph, roles: dict[str, Role]
) -> Planned:
    """Return what `isoinit.plan` would choose now: the model's own values it may keep."""
    values, _ = values_before(model, parameters, "own")
    known = {name: replace(role, before=values.get(name)) for name, role in roles.items()}
    return worked_out(graph, known)


def _refuse_unready(parameters: dict[str, nn.Parameter], lr: float | None, optimizer: str) -> None:
    # Of a sharded parameter what counts is the part that lies here.
    refuse_unready({name: local(p) for name, p in parameters.items()}, now=True)
    if names := unfilled(parameters):
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise PlanError(
            f"parameter {names[0]!r}{more} was built under isoinit.deferred and has no values yet. "
            "Call isoinit.init(model, batch) or apply a plan first"
        )
    refuse_optimizer(optimizer, lr)


def _examples(batch: Any) -> tuple[int | None, bool]:
    """How many examples a batch holds, and whether there are several that are all the same."""
    tensors = [t for t in tensors_in(as_arguments(batch)) if t.dim() and t.layout is torch.strided]
    counts = {len(tensor) for tensor in tensors}
    if len(counts) != 1:
        return None, False
    count = counts.pop()
    several = count > 1 and any(t.numel() for t in tensors)
    return count, several and all(bool((t == t[:1]).all()) for t in tensors)


def _resting(model: nn.Module) -> tuple[str, ...]:
    """The layers in evaluation mode that would behave otherwise in training."""
    return tuple(
        name
        for name, module in model.named_modules()
        if not module.training
        and (
            (isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats)
            or (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0)
        )
    )
