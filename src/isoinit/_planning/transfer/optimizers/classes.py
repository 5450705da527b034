"""Which optimizer an object is, inside what libraries wrap around one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from isoinit.errors import ArgumentError

NAMES = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "muon": "Muon"}
INSIDE = (
    "optimizer",
    "optim",
)  # where Accelerate, Lightning and ZeroRedundancyOptimizer keep theirs
EITHER = "adam or adamw"

Groups = Sequence[Mapping[str, Any]]


def innermost(optimizer: object) -> tuple[Groups, object]:
    """Return the groups of an optimizer, and the optimizer inside all wrappers.

    Raises:
        ArgumentError: if it has no groups.
    """
    groups: Groups | None = None
    at, seen = optimizer, {id(optimizer)}
    while True:
        if groups is None and isinstance(found := getattr(at, "param_groups", None), list):
            groups = found
        inside = (getattr(at, name, None) for name in INSIDE)
        nearer = next((o for o in inside if hasattr(o, "param_groups")), at)
        if id(nearer) in seen:
            break
        seen.add(id(nearer))
        at = nearer
    if groups is None:
        raise ArgumentError(
            f"optimizer is a {type(optimizer).__name__}; expected a torch.optim.Optimizer with "
            "param_groups"
        )
    return groups, at


def kind_of(optimizer: object, groups: Groups) -> str:
    """Return a key of `NAMES`, `EITHER` for those that do not tell, or "" for all others."""
    if isinstance(optimizer, torch.optim.Adam):  # of which AdamW is one since torch 2.7
        apart = isinstance(optimizer, torch.optim.AdamW) or all(
            group.get("decoupled_weight_decay") for group in groups
        )
        return "adamw" if apart else "adam"
    # Those of other packages are known by their names alone: AdamW8bit, FusedAdam, DeepSpeedCPUAdam.
    name = type(optimizer).__name__.lower()
    kind = next((kind for kind in ("muon", "sgd", "adamw", "adam") if kind in name), "")
    return EITHER if kind == "adam" else kind


def kind_fault(made_for: str, optimizer: object, groups: Groups) -> str:
    """Return why an optimizer is not the one that a transfer was made for; "" if it is."""
    kind, name = kind_of(optimizer, groups), type(optimizer).__name__
    if kind in _fitting(made_for):
        return ""
    if {kind, made_for} <= {"adam", "adamw"}:
        if not any(group.get("weight_decay") for group in groups):
            return ""  # without it they are one
        return (
            f"the optimizer is {name} with weight decay, which acts on the gradient in Adam and on "
            f"the parameter in AdamW: the transfer was made for {NAMES[made_for]}"
        )
    wanted = "Muon and AdamW" if made_for == "muon" else NAMES[made_for]
    known = f"isoinit.transfer(..., optimizer={kind!r})" if kind in NAMES else f"use {wanted}"
    other = (
        "make another, "
        if kind in NAMES
        else "the size of its updates may depend on the width differently; "
    )
    return f"the optimizer is {name}, but the transfer was made for {wanted}: {other}{known}"


def _fitting(made_for: str) -> tuple[str, ...]:
    if made_for == "muon":
        return ("muon", "adamw", EITHER)
    return (made_for, EITHER) if made_for in ("adam", "adamw") else (made_for,)
