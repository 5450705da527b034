"""How much each layer's output changes in a few steps, by width."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from evidence.transfer.runs import Start, optimizer_of
from evidence.transfer.settings import (
    CHECK_SEEDS,
    CHECK_STEPS,
    PLAN,
    TRANSFER,
    Check,
)
from evidence.transfer.tasks import TASKS, loss_of_output
from torch import nn

import isoinit

NAMED = {PLAN: "standard", TRANSFER: "transfer"}  # what `isoinit.coordinates` does by itself


def measure(check: Check, scheme: str) -> Mapping[str, Any]:
    """Return the changes by step, kind of layer and width, and the seconds they took."""
    begin = time.perf_counter()
    task = TASKS[check.task]
    batches = list(islice(task.batches(0), max(CHECK_STEPS)))
    starts = (
        {} if scheme in NAMED else {width: start(check, scheme, width) for width in check.widths}
    )

    def own(model: nn.Module, width: int, seed: int) -> torch.optim.Optimizer:
        plan = starts[width].plan
        if plan is not None:
            plan.apply(model, seed=seed)
        return optimizer_of(check.optimizer, starts[width].groups(model, 2.0**check.rate))

    found = isoinit.coordinates(
        lambda width: task.build(width, check.depth),
        check.widths,
        batch=task.example(),
        optimizer=check.optimizer,
        lr=2.0**check.rate,
        data=lambda step: (batches[step][0], partial(loss_of_output, right=batches[step][1])),
        steps=max(CHECK_STEPS),
        seeds=CHECK_SEEDS,
        parametrization=NAMED.get(scheme, own),
        progress=False,
    )
    return {
        "layers": len(found.layers),
        "kinds": {kind.name: kind.kind for kind in found.kinds},
        "changes": {step: changes(found, starts, step) for step in CHECK_STEPS},
        "seconds": round(time.perf_counter() - begin, 1),
    }


def start(check: Check, scheme: str, width: int) -> Start:
    """Return how a scheme that `isoinit.coordinates` does not know starts a width."""
    task = TASKS[check.task]
    model, base = (partial(task.build, size, check.depth) for size in (width, check.widths[0]))
    return Start(scheme, model, base, task.example(), check.optimizer)


def changes(
    found: isoinit.Coordinates, starts: Mapping[int, Start], step: int
) -> dict[str, dict[int, float]]:
    """Return the change of each kind of layer after a step, by width.

    `isoinit.coordinates` takes the gauge out of its own transfers. It is taken out of ours here.
    """
    by_kind = {}
    for kind in found.kinds:
        names = [layer.name for layer in kind.layers]
        widths = zip(found.widths, kind.by_width(step), strict=True)
        by_kind[kind.name] = {w: change / _gauge(starts.get(w), names) for w, change in widths}
    return by_kind


def _gauge(begun: Start | None, layers: list[str]) -> float:
    """Return the geometric mean of the gauges of some layers' outputs."""
    if begun is None or begun.transfer is None:
        return 1.0
    factors = begun.transfer.factors
    gauges = (factors[f"{n}.weight"].signal for n in layers if f"{n}.weight" in factors)
    logs = [math.log(gauge) for gauge in gauges]
    return math.exp(statistics.fmean(logs)) if logs else 1.0
