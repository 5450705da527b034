"""The parameters of a model by the entries of a plan, however the model is wrapped and sharded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from isoinit._reading.torch.names import require_parameters
from isoinit._showing.findings import listed
from isoinit._writing.placements import held_parameters
from isoinit._writing.refusals import refuse_unready
from isoinit.errors import PlanError

if TYPE_CHECKING:
    from isoinit._planning.plan import Plan

FLAT = (
    "the model is a FullyShardedDataParallel with flat parameters, so its parameters cannot have "
    "separate learning rates. Wrap with use_orig_params=True, or use fully_shard"
)


def matched(plan: Plan, model: nn.Module, purpose: str) -> dict[str, nn.Parameter]:
    """Return the parameters of a model that are trained, by the names of a plan's entries.

    A model with some of the plan's parameters, such as a stage of a pipeline, is fine.

    Args:
        plan: one with factors.
        model: on any device, wrapped or not, whole or one rank's shard.
        purpose: what it is for, in errors: "make groups of", "clip".

    Raises:
        ArgumentError: if it is no model with parameters.
        PlanError: if its parameters are not the plan's, naming the first that differs.
    """
    parameters, tied = require_parameters(model, purpose)
    if any(getattr(parameter, "_is_flat_param", False) for parameter in parameters.values()):
        raise PlanError(FLAT)
    refuse_unready(parameters, now=False)
    shapes = _whole_shapes(model, parameters)
    found: dict[str, nn.Parameter] = {}
    firsts: dict[str, str] = {}
    for name, parameter in parameters.items():
        own = plan.aliases.get(name, name)
        if own not in plan:
            if parameter.requires_grad:
                raise _lacking(plan, name, parameters)
        elif shapes[name] != plan[own].shape:
            raise PlanError(
                f"{name!r} has shape {shapes[name]}, but {plan[own].shape} in the plan of the "
                "transfer: the transfer was made for another model. Make it for this model"
            )
        elif own in firsts:
            raise PlanError(
                f"{name!r} was tied to {firsts[own]!r} when the transfer was made, but is not "
                "tied now (to_empty separates tied parameters). Tie them again, or make the "
                "transfer again"
            )
        else:
            firsts[own] = name
            if parameter.requires_grad:
                found[own] = parameter
    _refuse_tied(plan, tied)
    return found


def is_flattened(parameter: torch.Tensor) -> bool:
    """Return whether it is a view of a flat parameter, of which each rank holds any run."""
    return bool(getattr(parameter, "_fsdp_flattened", False))


def by_mesh(
    parameters: Iterable[nn.Parameter], model: Iterable[nn.Parameter]
) -> dict[int, list[nn.Parameter]]:
    """Return parameters by the mesh that they are sharded on, as counted over the model.

    Those of two meshes, or sharded ones and others, cannot share a fused or foreach step.
    """
    meshes = list(dict.fromkeys(getattr(p, "device_mesh", None) for p in model))
    found: dict[int, list[nn.Parameter]] = {}
    for parameter in parameters:
        mesh = meshes.index(getattr(parameter, "device_mesh", None))
        found.setdefault(mesh, []).append(parameter)
    return found


def _whole_shapes(
    model: nn.Module, parameters: Mapping[str, nn.Parameter]
) -> dict[str, tuple[int, ...]]:
    """The shapes that parameters have on one process that holds the whole model."""
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    if any(map(is_flattened, parameters.values())):
        shapes |= {name: part.shape for name, part in held_parameters(model)[0].items()}
    return shapes


def _refuse_tied(plan: Plan, tied: Mapping[str, str]) -> None:
    """Raise for parameters that are one now and were not when the transfer was made."""
    for alias, first in tied.items():
        own, other = (plan.aliases.get(name, name) for name in (first, alias))
        if other in plan and own != other:
            raise PlanError(
                f"{alias!r} is tied to {first!r}, but was not tied when the transfer was made. A "
                "tied parameter has other factors: make the transfer for the tied model"
            )


def _lacking(plan: Plan, name: str, names: Collection[str]) -> PlanError:
    """Return the error for a trained parameter that a plan has no entry for."""
    return PlanError(
        f"the model trains {name!r}, but the plan of the transfer does not have "
        f"it{_hint(plan, names)}"
    )


def _hint(plan: Plan, names: Collection[str]) -> str:
    known = {*plan.entries, *plan.aliases}
    if any(name in known for name in names):
        return (
            ". If it was added later, make the transfer for the model with it, or freeze it "
            "(requires_grad_(False)) while you make the groups"
        )
    outer = next(iter(names)).partition(".")[0]
    if all(name.removeprefix(f"{outer}.") in known for name in names):
        return f". The plan was made for its submodule {outer!r}: pass that module"
    planned = next(iter(plan.entries))
    outer = planned.partition(".")[0]
    if all(f"{outer}.{name}" in known for name in names):
        return (
            f". The plan was made for the module that contains this one (it has {planned!r}): "
            "pass that module"
        )
    few = listed([repr(entry) for entry in plan.entries])
    return f" ({few}): the transfer was made for another model. Make it for this model"
