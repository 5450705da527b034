"""The verbs of the library: `plan` a model's initial parameters, and `init` it in one call."""

from __future__ import annotations

from typing import Any

from torch import nn

from isoinit.fill import refuse_unfillable
from isoinit.plans import Entry, Plan
from isoinit.roles import Role, read_roles
from isoinit.rules import choose
from isoinit.trace import require_parameters, structure, trace


def plan(model: nn.Module, batch: Any = None, *, method: str = "auto") -> Plan:
    """Choose the initializer of every parameter, with a reason and a source; changes nothing.

    The model's forward is run once on fake tensors, which take no memory and no time, and on the
    example itself where it needs real values. What follows each weight (an activation, a residual
    sum, a norm layer) decides what the weight gets.

    Args:
        model: any model, on any device, meta too.
        batch: an example input: a tensor for `model(batch)`, a tuple for `model(*batch)`, or a
            mapping for `model(**batch)`. Without one the plan is a guess from the modules in the
            order of their registration, and each entry says so.
        method: "auto" for the rule book; or "zero", "random", "xavier", "he", "lecun",
            "orthogonal", "sparse" (very large networks, scarce resources) or "variational" (where
            uncertainty matters), put on every weight matrix where it can go.

    Raises:
        ArgumentError: if the model has no parameters, or method or batch is of no known kind.
        PlanError: for parameters that cannot be initialized (integer, complex, quantized, lazy).
        TraceError: if the forward refuses the batch, with the model's own error.

    Example:
        >>> import isoinit, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU())
        >>> entry = isoinit.plan(model, torch.zeros(1, 8))["0.weight"]
        >>> print(entry.initializer, entry.std, entry.role)
        HeNormal(gain=1.414) 0.5 weight before relu
    """
    parameters, aliases = require_parameters(model, "plan")
    refuse_unfillable(parameters, meta_too=False)
    graph = structure(model) if batch is None else trace(model, batch)
    roles = read_roles(graph, lambda: structure(model))
    entries = {
        name: _entry(role, str(parameters[name].dtype), method) for name, role in roles.items()
    }
    return Plan(entries, aliases, method, graph.how)


def _entry(role: Role, dtype: str, method: str) -> Entry:
    choice = choose(role, method)
    return Entry(
        role.parameter,
        str(role),
        choice.initializer,
        role.layout,
        dtype.removeprefix("torch."),
        choice.reason,
        choice.source,
        must_differ="weight" in role.slot and not role.ends_branch,
    )


def init(
    model: nn.Module, batch: Any = None, seed: int | None = 0, *, method: str = "auto"
) -> Plan:
    """Plan a model's initial parameters and apply the plan.

    Args:
        model: filled in place.
        batch: an example input, as for `plan`.
        seed: as for `Plan.apply`.
        method: as for `plan`.

    Returns:
        The plan that was applied.

    Raises:
        IsoinitError: as `plan` and `Plan.apply` do; nothing was changed then.
    """
    chosen = plan(model, batch, method=method)
    chosen.apply(model, seed)
    return chosen
