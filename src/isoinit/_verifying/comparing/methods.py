"""The initializations that are compared, and how a model starts from each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from isoinit._planning import rules
from isoinit._planning.asked import Only
from isoinit._planning.plan import Plan
from isoinit._planning.verbs import plan
from isoinit._system.signals import call_user
from isoinit.errors import ArgumentError

Start = Callable[[nn.Module, Any, int], nn.Module | None]
"""Initializes a new model, given a batch and a seed: in place, or by returning another model."""

METHODS = ("default", "plan", *(name for name in rules.METHODS if name != "auto"))
"""`default`, what the model's constructor gives; `plan`, what isoinit chooses; the eight methods."""


def resolve_methods(methods: Iterable[str] | Mapping[str, str | Start]) -> dict[str, str | Start]:
    """The methods to compare, by name.

    Raises:
        ArgumentError: for a name of no method, or nothing to compare.
    """
    if isinstance(methods, str):
        raise ArgumentError(f"methods={methods!r}: expected a list of names, such as [{methods!r}]")
    chosen = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods}
    for name, method in chosen.items():
        if not callable(method) and method not in METHODS:
            raise ArgumentError(
                f"methods: {name!r} is {method!r}; expected one of {', '.join(METHODS)}, or a "
                "function of a model, a batch and a seed"
            )
    if not chosen:
        raise ArgumentError("methods is empty: expected at least one, such as 'plan'")
    return chosen


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
