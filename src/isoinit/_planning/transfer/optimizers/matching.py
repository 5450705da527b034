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
    "the model is a FullyShardedDataParallel that keeps its parameters in flat ones, which cannot "
    "have learning rates of their own: pass use_orig_params=True to it, or use fully_shard"
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
                f"{name!r} has shape {shapes[name]}, the transfer's plan has {plan[own].shape}: the "
                "transfer was made of another model; make it of this one"
            )
        elif own in firsts:
            raise PlanError(
                f"{name!r} was tied to {firsts[own]!r} when the transfer was made, and is no more "
                "(to_empty parts tied parameters): tie them again, or make the transfer anew"
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
                f"{alias!r} is tied to {first!r}, and was not when the transfer was made: a tied "
                "parameter has other factors; make the transfer of the model as it is trained"
            )


def _lacking(plan: Plan, name: str, names: Collection[str]) -> PlanError:
    """Return the error for a trained parameter that a plan has no entry for."""
    return PlanError(
        f"the model trains {name!r}, which the transfer's plan does not have{_hint(plan, names)}"
    )


def _hint(plan: Plan, names: Collection[str]) -> str:
    known = {*plan.entries, *plan.aliases}
    if any(name in known for name in names):
        return (
            ". If it was added later, make the transfer of the model as it is trained; or freeze it "
            "(requires_grad_(False)) while the groups are made"
        )
    outer = next(iter(names)).partition(".")[0]
    if all(name.removeprefix(f"{outer}.") in known for name in names):
        return f". The plan was made of the module {outer!r} in it: pass that one"
    planned = next(iter(plan.entries))
    outer = planned.partition(".")[0]
    if all(f"{outer}.{name}" in known for name in names):
        return f". The plan was made of the module around this one, which has {planned!r}"
    few = listed([repr(entry) for entry in plan.entries])
    return f" ({few}): the transfer was made of another model; make it of this one"
