"""Whether the groups of an optimizer still have the ratios of learning rate, decay and ε planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isoinit._planning.transfer.optimizers.classes import Groups, innermost, kind_fault, kind_of
from isoinit._planning.transfer.optimizers.grouping import Group, grouped, without_mesh
from isoinit._planning.transfer.optimizers.matching import is_flattened
from isoinit._planning.transfer.optimizers.ratios import Number, ratios_fault
from isoinit._showing.findings import listed
from isoinit.errors import PlanError

if TYPE_CHECKING:
    from isoinit._planning.plan import Plan

# What a group of torch calls it, and what a planned one does.
NUMBERS = {"lr": "lr", "weight_decay": "decay", "eps": "eps"}


def verify(plan: Plan, optimizer: object) -> None:
    """Raise unless the groups of an optimizer are those planned: see `Transfer.verify`."""
    assert plan.transfer is not None
    groups, inner = innermost(optimizer)
    made_for, _, adjusting = plan.transfer.optimizer.partition(":")
    if fault := kind_fault(made_for, inner, groups):
        raise PlanError(fault)
    kind = kind_of(inner, groups) if made_for == "muon" else ""
    faults = []
    for decay_vectors in (False, True):  # nothing but the groups tells how they were made
        planned = grouped(plan, decay_vectors=decay_vectors)
        fault = _fault(planned, groups, kind)
        if not fault and kind == "muon":
            fault = _misadjusted(groups, adjusting or "original")
        if not fault:
            return
        known = sum(without_mesh(group.get("name")) in planned for group in groups)
        faults.append((known, not decay_vectors, fault))
    raise PlanError(max(faults)[-1])


def _fault(planned: Mapping[str, Group], groups: Groups, kind: str) -> str:
    """Return what is wrong with the groups of an optimizer; "" if nothing is.

    `kind` is the optimizer's, where a transfer is for two.
    """
    named = [(without_mesh(group.get("name")), group) for group in groups]
    known = [(planned[name], group) for name, group in named if name and name in planned]
    if not known:
        called = listed([repr(name) for name in planned])
        return (
            f"none of the optimizer's {len(groups)} groups belongs to this transfer (names: "
            f"{called}). Make the optimizer from t.groups(model, lr=...). Loading a state dict "
            "also replaces the names of groups"
        )
    if strangers := [group for name, group in named if name not in planned]:
        return _added(strangers)
    if kind and (
        wrong := [g.name for g, _ in known if (g.optimizer == "muon") != (kind == "muon")]
    ):
        mine, other = ("muon", "AdamW") if kind == "muon" else ("adamw", "Muon")
        return (
            f"the group {wrong[0]!r} is meant for {other}: make the groups of this optimizer with "
            f"t.groups(model, lr=..., optimizer={mine!r})"
        )
    for group, given in known:
        if fault := _misshapen(planned, group, given):
            return fault
    for name, planned_name in NUMBERS.items():
        numbers = [
            Number(group.name, float(given[name]), factor, given)
            for group, given in known
            if (factor := getattr(group, planned_name)) is not None and name in given
        ]
        if fault := ratios_fault(name, numbers):
            return fault
    return ""


def _misadjusted(groups: Groups, planned: str) -> str:
    """Return the fault of a Muon that adjusts its learning rates otherwise; "" if it does not."""
    for group in groups:
        if (found := group.get("adjust_lr_fn", planned) or "original") != planned:
            asked = "muon" if found == "original" else f"muon:{found}"
            return (
                f"Muon adjusts its learning rates by {found!r}, but the transfer was made for "
                f"{planned!r}. Make another transfer, isoinit.transfer(..., optimizer={asked!r})"
            )
    return ""


def _added(strangers: Groups) -> str:
    """Return the fault of groups that are not of the transfer."""
    parameters = [parameter for group in strangers for parameter in group["params"]]
    shapes = listed([str(tuple(parameter.shape)) for parameter in parameters])
    names = [repr(group["name"]) for group in strangers if "name" in group]
    called = f" ({listed(names)})" if names else ""
    many = (
        f"{len(strangers)} groups{called} hold" if len(strangers) > 1 else f"a group{called} holds"
    )
    count = f"{len(parameters)} parameters" if len(parameters) > 1 else "a parameter"
    return (
        f"{many} {count} of shape {shapes} that this transfer did not group. They were added "
        "later, so their learning rate is not transferred. Make the transfer for the model that "
        "is trained, and the optimizer from its groups"
    )


def _misshapen(planned: Mapping[str, Group], group: Group, given: Mapping[str, Any]) -> str:
    """Return the fault of a group whose parameters are not those planned."""
    parameters = [p for p in given["params"] if not is_flattened(p)]
    others = Counter(tuple(p.shape) for p in parameters) - Counter(group.shapes)
    if not others:
        return ""
    shape, count = next(iter(others.items()))
    there = Counter(group.shapes)[shape]
    elsewhere = [other.name for other in planned.values() if shape in other.shapes]
    if there:
        said = (
            f"{count + there} parameters of shape {shape}, but the plan has {there} in this group"
        )
    elif elsewhere:
        said = f"a parameter of shape {shape}, which belongs in {elsewhere[0]!r}"
    else:
        said = f"a parameter of shape {shape}, which is not in the plan"
    return (
        f"the group {group.name!r} holds {said}. The groups were made for another model: make the "
        "optimizer from t.groups(model, lr=...) of this model"
    )
