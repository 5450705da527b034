"""A loss of the output and the targets as one of the output alone; the model gets the inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from isoinit.errors import ArgumentError

T = TypeVar("T")
FREE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def needed(function: Any) -> list[inspect.Parameter]:
    """Return the arguments that a function cannot do without; none where it does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a builtin
        return []
    return [p for p in parameters if p.default is p.empty and p.kind not in FREE]


def without_targets(
    batch: Any,
    loss: Callable[..., T],
    takes: Sequence[inspect.Parameter],
    name: str,
    call: str,
) -> tuple[Any, Callable[[Any], T]]:
    """Return what the model takes of a batch, and the loss as a function of its output alone.

    Args:
        batch: a pair `(inputs, targets)` where the loss takes two arguments.
        loss: the loss.
        takes: the arguments that it needs.
        name: what it goes by.
        call: how it is called on an output, in words.

    Raises:
        ArgumentError: if the loss takes more, or the batch holds no targets.
    """
    if len(takes) < 2:
        return batch, loss
    names = [parameter.name for parameter in takes]
    said = f"loss={name} takes {len(names)} arguments ({', '.join(names)})"
    alone = f"pass a function of the output only: loss=lambda output: {call}"
    if len(names) > 2 or any(p.kind is p.KEYWORD_ONLY for p in takes):
        raise ArgumentError(
            f"{said}, but it is called with at most two: the model's output and the targets of a "
            f"batch (inputs, targets). Instead, {alone}"
        )
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        parts = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise ArgumentError(
            f"{said}, but the batch is a {type(batch).__name__}{parts} without targets. Pass the "
            f"batch as a pair (inputs, targets), or {alone}"
        )
    inputs, targets = batch
    return inputs, lambda output: loss(output, targets)


def called(name: str, names: Sequence[str]) -> str:
    """Return how a loss is called on an output, in words."""
    rest = ["output", "targets"] if len(names) == 2 else ["output", *names[1:]]
    return f"{name}({', '.join(rest)})"


def own_loss(output: Any) -> Any:
    """Return the loss that the model worked out itself, as `transformers` models do given labels."""
    return output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
