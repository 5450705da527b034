"""What a command works on: the plan that was asked for, and the batch that the model runs on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import isoinit
from isoinit.errors import ArgumentError, TraceError

if TYPE_CHECKING:
    from torch import nn


def refuse_two_plans(
    saved: Path | None, method: str | None, recipe: str | None, only: Sequence[str] | None
) -> None:
    """Refuse a saved plan beside options that make another one.

    Raises:
        ArgumentError: naming the options, and what to do.
    """
    others = {"--method": method not in (None, "auto"), "--recipe": recipe, "--only": only}
    given = [option for option, value in others.items() if value]
    if saved is not None and given:
        raise ArgumentError(
            f"--plan and {' and '.join(given)} cannot be combined: the saved plan says what every "
            f"parameter gets. Leave out one of them, or save a plan with {given[0]} first: "
            f"isoinit plan TARGET {given[0]} … --save FILE"
        )


def plan_for(
    model: nn.Module,
    batch: Any,
    saved: Path | None,
    method: str | None,
    recipe: str | None,
    only: Sequence[str] | None,
) -> isoinit.Plan:
    """Return the saved plan, or the plan that the other options ask for."""
    if saved is not None:
        return isoinit.Plan.load(saved)
    return isoinit.plan(model, batch, method=method or "auto", recipe=recipe, only=only)


def batch_for(target: str, model: nn.Module, batch: Any, what: str) -> Any:
    """Return the batch of a target, or one that is made for its model.

    Standard error then tells what was made: random inputs are no real examples.

    Args:
        target: as the user gave it, for errors.
        model: what the target gave.
        batch: what the target gave; None for nothing.
        what: the command or option that runs the model.

    Raises:
        ArgumentError: if there is none and none can be made.
    """
    if batch is not None:
        return batch
    from isoinit._reading.torch import trace_made_up

    try:
        made = trace_made_up(model, real=True)[1]
    except TraceError as error:
        reason = str(error).partition("; pass")[0]
        raise ArgumentError(
            f"{target} gives a model without a batch, and {what} runs the model: {reason}. Give a "
            "function that returns (model, batch)"
        ) from None
    given = made if isinstance(made, dict) else {"": made}
    told = ", ".join(f"{n} {'×'.join(map(str, x.shape))}".strip() for n, x in given.items())
    print(
        f"isoinit: {target} gives no batch; {what} runs the model on random inputs ({told})",
        file=sys.stderr,
    )
    return made
