"""The recipe that a model brings along: its own initialization, entry by entry."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from isoinit._planning.recipes.calls import from_writes, key_of
from isoinit._planning.recipes.rerun import rerun, unseen
from isoinit._planning.recipes.values import ENOUGH, Found, from_values, is_constant
from isoinit._planning.rules import Choice
from isoinit._reading.roles import Role
from isoinit._reading.torch.names import named_parameters
from isoinit.initializers.scale import fans

MOST_RUNS = 16  # of the whole initialization, to collect values enough for an estimate


def own_choices(
    model: nn.Module, roles: dict[str, Role]
) -> tuple[dict[str, tuple[Role, Choice]], tuple[str, ...]]:
    """What a model's own initialization gives each parameter.

    It is run on memory of its own, on the processor; the model is left as it was. What it drew is
    read from the calls that fill a parameter, confirmed by the values that they give, or from the
    values alone where something else wrote them.

    Args:
        model: with `_init_weights` as in `transformers`, `init_weights` of its own, or layers with
            `reset_parameters`; on any device, meta too.
        roles: what each parameter is for.

    Returns:
        The choices by name, and what could not be seen, in sentences.

    Raises:
        PlanError: if the model has no initialization of its own, or it fails.

    Example:
        >>> import isoinit, torch
        >>> table = torch.nn.Embedding(10, 4, padding_idx=0)
        >>> entry = isoinit.plan(table, recipe="own")["weight"]
        >>> print(entry.initializer, entry.layout.padding, entry.reason)
        Normal() 0 its own initialization drew normal, mean 0, std 1
    """
    with torch.inference_mode(False), torch.device("cpu"):  # whatever the caller has set
        found, writers = _found(model)
    chosen = {}
    for name, role in roles.items():
        what = found[name]
        layout = fans.of_tensor(role.layout.shape) if what.whole else role.layout
        role = replace(role, layout=replace(layout, padding=what.padding))
        reason = f"its own initialization {what.seen}"
        chosen[name] = role, Choice(what.initializer, reason, writers[name])
    return chosen, unseen(model)


def _found(model: nn.Module) -> tuple[dict[str, Found], dict[str, str]]:
    """What each parameter got, and what wrote it."""
    seen = rerun(model, 0)
    parameters, _ = named_parameters(model)
    met: dict[object, Found] = {}  # layers that repeat are looked at once
    found: dict[str, Found] = {}
    for name, what in seen.items():
        if what.values is None:
            parameter = parameters[name]
            key = key_of(parameter, what.writes)
            if key not in met:
                met[key] = from_writes(tuple(parameter.shape), parameter.dtype, what.writes)
            found[name] = met[key]
    values = {name: [what.values] for name, what in seen.items() if what.values is not None}
    _run_again(model, values)
    found.update((name, from_values(runs)) for name, runs in values.items())
    return found, {name: what.by if found[name].initializer else "" for name, what in seen.items()}


def _run_again(model: nn.Module, values: dict[str, list[torch.Tensor]]) -> None:
    """Run from other seeds until random values are told from tables, and are enough to estimate."""
    waiting = {name for name, runs in values.items() if _is_open(runs)}
    for seed in range(1, MOST_RUNS):
        if not waiting:
            return
        again = rerun(model, seed)
        for name in waiting:
            if (other := again[name].values) is not None:
                values[name].append(other)
        waiting = {name for name in waiting if _is_open(values[name])}


def _is_open(runs: list[torch.Tensor]) -> bool:
    values = runs[0]
    if not bool(torch.isfinite(values).all()) or is_constant(values):
        return False
    if len(runs) == 1:
        return True
    random = not torch.equal(values, runs[1])
    return random and len(runs) * values.numel() < 4 * ENOUGH
