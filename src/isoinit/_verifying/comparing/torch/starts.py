"""How a torch model starts from each of the initializations that are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from isoinit._planning.asked import Only
from isoinit._planning.plan import Plan
from isoinit._planning.verbs import plan
from isoinit._system.signals import call_user
from isoinit.errors import ArgumentError

Start = Callable[[nn.Module, Any, int], nn.Module | None]
"""Initializes a new model, given a batch and a seed: in place, or by returning another model."""


def built(build: Callable[[], nn.Module]) -> nn.Module:
    """A new model.

    Raises:
        ArgumentError: if that is no module.
    """
    model = call_user(build)
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"build_model returned a {type(model).__name__}; expected a new torch.nn.Module"
        )
    return model


def start(
    model: nn.Module, method: str | Start, batch: Any, seed: int, only: Only | None = None
) -> tuple[nn.Module, Plan | None]:
    """A new model as a method initializes it, and the plan behind it if there is one."""
    if callable(method):
        other = call_user(method, model, batch, seed)
        return (other if isinstance(other, nn.Module) else model), None
    if method == "default":
        return model, None
    chosen = plan(model, batch, method="auto" if method == "plan" else method, only=only)
    chosen.apply(model, seed)
    return model, chosen
