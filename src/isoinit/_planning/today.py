"""What stands beside a plan: the scale that parameters have now, and that of the own recipe.

Loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from isoinit._planning.before import has_values
from isoinit._planning.recipes.own import own_choices
from isoinit._reading.roles import Role
from isoinit._reading.torch import require_parameters
from isoinit._reading.torch.numbers import in_reals
from isoinit._writing.entry import Entry
from isoinit._writing.refusals import refuse_mismatch

Scales = dict[str, "float | None"]


def present(
    model: nn.Module, entries: Mapping[str, Entry], aliases: Mapping[str, str]
) -> tuple[Scales, int]:
    """Return the standard deviation of each parameter of a plan, as the model holds it.

    Args:
        model: one with the plan's parameters, or some of them.
        entries: the plan's.
        aliases: the plan's further names of tied parameters.

    Returns:
        By name, None where its values are not here: on the meta device, postponed, or sharded. And how
        many these are.

    Raises:
        ArgumentError: if it is no model, or has no parameters.
        PlanError: if names or shapes differ.
    """
    parameters, _ = require_parameters(model, "show")
    refuse_mismatch(entries, parameters, aliases, some=True)
    found: Scales = {}
    for name, parameter in parameters.items():
        found.setdefault(aliases.get(name, name), _std(parameter))
    return found, sum(std is None for std in found.values())


def own(model: nn.Module, entries: Mapping[str, Entry], aliases: Mapping[str, str]) -> Scales:
    """Return the standard deviation that a model's own initialization gives each parameter.

    Args:
        model: as for `present`; left as it was.
        entries: as there.
        aliases: as there.

    Returns:
        By name, None where the own initialization leaves a parameter as it was.

    Raises:
        PlanError: if the model has no initialization of its own, or it fails.
    """
    parameters, _ = require_parameters(model, "show")
    layouts = {name: entries[aliases.get(name, name)].layout for name in parameters}
    roles = {name: Role(name, "", layout, "") for name, layout in layouts.items()}
    chosen, _ = own_choices(model, roles)
    found: Scales = {}
    for name, (role, choice) in chosen.items():
        drawn = choice.initializer
        std = None if drawn is None else drawn.std_for(role.layout)
        found.setdefault(aliases.get(name, name), std)
    return found


def _std(parameter: torch.Tensor) -> float | None:
    if not has_values(parameter) or not parameter.numel():
        return None
    with torch.no_grad():
        values = in_reals(parameter.detach(), 0)
        return float(torch.std(values.float(), correction=0))
