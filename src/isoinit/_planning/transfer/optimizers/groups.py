"""Groups for a torch optimizer: each with its learning rate, weight decay and ε."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from isoinit._planning.transfer.optimizers.grouping import Group, grouped, on_mesh
from isoinit._planning.transfer.optimizers.matching import by_mesh, matched
from isoinit._planning.transfer.optimizers.ranges import require_range
from isoinit.errors import ArgumentError, PlanError

if TYPE_CHECKING:
    from isoinit._planning.plan import Plan

BOTH = """\
this transfer is for Muon, which trains hidden matrices, and AdamW, which trains the rest. Make both:
    torch.optim.Muon(t.groups(model, lr=..., optimizer="muon"))
    torch.optim.AdamW(t.groups(model, lr=..., optimizer="adamw"))"""


def groups(
    plan: Plan,
    model: nn.Module,
    lr: float | torch.Tensor,
    weight_decay: float,
    eps: float,
    *,
    optimizer: str | None,
    decay_vectors: bool,
) -> list[dict[str, Any]]:
    """Return the groups of a model's trained parameters: see `Transfer.groups`."""
    require_range("lr", _number(lr), above=True)
    require_range("weight_decay", weight_decay)
    require_range("eps", eps)
    trains = _optimizer(plan, optimizer)
    found = matched(plan, model, "make groups of")
    if not found:
        raise ArgumentError(
            f"no parameter of the {type(model).__name__} is trained: all have requires_grad=False"
        )
    if empty := [name for name, parameter in found.items() if parameter.is_meta]:
        raise PlanError(
            f"{empty[0]!r} is on the meta device, so the optimizer would hold a different "
            "parameter than the model. Apply the plan first, then make the groups"
        )
    if bare := [name for name in found if plan[name].factors is None]:
        raise PlanError(f"the plan's entry for {bare[0]!r} has no factors. Make the transfer again")
    made = []
    for group in grouped(plan, decay_vectors=decay_vectors).values():
        mine = [found[name] for name in group.members if name in found]
        if mine and group.optimizer == trains:
            for mesh, parameters in by_mesh(mine, found.values()).items():
                called = replace(group, name=on_mesh(group.name, mesh))
                made.append(_dictionary(called, parameters, lr, weight_decay, eps))
                if trains == "muon":
                    made[-1]["adjust_lr_fn"] = adjusting(plan)
    return made


def adjusting(plan: Plan) -> str:
    """Return how torch's Muon is to adjust its learning rate; "" in a transfer without Muon."""
    assert plan.transfer is not None
    optimizer, _, how = plan.transfer.optimizer.partition(":")
    return how or "original" if optimizer == "muon" else ""


def _dictionary(
    group: Group,
    parameters: list[nn.Parameter],
    lr: float | torch.Tensor,
    weight_decay: float,
    eps: float,
) -> dict[str, Any]:
    rate = lr.detach() * group.lr if isinstance(lr, torch.Tensor) else float(lr) * group.lr
    made: dict[str, Any] = {
        "params": parameters,
        "name": group.name,
        "lr": rate,
        "weight_decay": float(weight_decay) * group.decay,
    }
    if group.eps is not None:
        made["eps"] = float(eps) * group.eps
    return made


def _optimizer(plan: Plan, asked: str | None) -> str:
    """Return which optimizer the groups are for."""
    assert plan.transfer is not None
    made_for = plan.transfer.optimizer
    if adjusting(plan):
        if asked not in ("muon", "adamw"):
            found = "" if asked is None else f"optimizer={asked!r}: "
            raise ArgumentError(found + BOTH)
        return str(asked)
    if asked not in (None, made_for):
        raise ArgumentError(
            f"optimizer={asked!r}: this transfer is for {made_for!r}. Omit optimizer=, or make "
            f"another transfer, isoinit.transfer(..., optimizer={asked!r})"
        )
    return made_for


def _number(lr: object) -> object:
    """Return the number of a learning rate, which may be a tensor of one element; else it itself."""
    if isinstance(lr, torch.Tensor) and lr.numel() == 1 and lr.is_floating_point():
        return float(lr)
    return lr
