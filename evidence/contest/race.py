"""Trains one model from each contestant's start: see `protocol`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from evidence.contest.protocol import FAR, RATES, SEEDS, STEPS, TAIL, TUNING_SEED
from evidence.contest.rivals import PEERS, PLAN, Start, contestants
from evidence.contest.task import Task
from torch import nn

import isoinit
from isoinit._reading.torch import as_arguments

Losses = tuple[float, float]
"""The training loss at the end of a run, and the held-out loss after it; infinite if it diverged."""

Field = Callable[[Task], Mapping[str, Start]]


def race(name: str, task: Task, field: Field = contestants) -> dict[str, Any]:
    """Return what came of each contestant on one model, as a row for a file.

    A method of ours that gives the very weights of one before it (the means of a network of
    distributions are the plan's) is not run again: `same` says as which. A peer that fails is named
    with its words.
    """
    starts = field(task)
    results: dict[str, dict[str, Any]] = {}
    seen: dict[str, str] = {}
    for method, start in starts.items():
        try:
            first = seen.setdefault(_fingerprint(task, start), method)
            if first != method:
                results[method] = {"same": first}
                continue
            tried = [(*train(task, start, rate, TUNING_SEED), rate) for rate in RATES]
        except Exception as error:  # a peer may fail in any way; what it says is shown
            if method not in PEERS:
                raise
            results[method] = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
            continue
        training, held_out, rate = min(tried)
        results[method] = {
            "rate": rate,
            "training": [training],
            "held out": [held_out],
            "out": True,
        }
    least = min(logged(r["training"][0], task.floor) for r in results.values() if "rate" in r)
    for method, result in results.items():
        if "rate" not in result:
            continue
        behind = logged(result["training"][0], task.floor) - least
        if method == PLAN or behind <= math.log(FAR):
            runs = [train(task, starts[method], result["rate"], seed) for seed in SEEDS]
            training, held_out = map(list, zip(*runs, strict=True))
            result |= {"training": training, "held out": held_out, "out": False}
    return {"family": name, "floor": task.floor, "results": results}


def logged(loss: float, floor: float) -> float:
    """Return a loss as it is judged."""
    return math.log(max(loss - floor, 1e-12)) if math.isfinite(loss) else math.inf


def train(task: Task, start: Start, rate: float, seed: int, steps: int = STEPS) -> Losses:
    """Return the losses of one run."""
    model = started(task, start, seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    losses = []
    model.train()
    for step in range(steps):
        value = _loss(model, *task.data(step))
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            return math.inf, math.inf
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        held_out = _loss(model.eval(), *task.held_out()).item()
    return statistics.fmean(losses[-TAIL:]), held_out if math.isfinite(held_out) else math.inf


def started(task: Task, start: Start, seed: int) -> nn.Module:
    """Return a new model as a contestant starts it; what the run draws later follows from the seed."""
    torch.manual_seed(seed)
    model = task.build()
    start(model, task.data(0)[0], seed)
    torch.manual_seed(seed)
    return model


def _loss(model: nn.Module, batch: Any, loss: Any) -> torch.Tensor:
    args, kwargs = as_arguments(batch)
    output = model(*args, **kwargs)
    return torch.as_tensor(output.loss if loss is None else loss(output))


def _fingerprint(task: Task, start: Start) -> str:
    """Return that of the weights that a contestant gives under one seed."""
    return str(isoinit.fingerprint(started(task, start, TUNING_SEED)))
