"""Trains one task at one size under one scheme, at one rate after the other."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from evidence.transfer.settings import (
    END,
    LEAST,
    MOMENTUM,
    MOST,
    PAST,
    PLAN,
    TAIL,
    TRANSFERS,
    WARM,
    Sweep,
)
from evidence.transfer.tasks import TASKS, Task, loss_of
from torch import nn

import isoinit

Groups = list[dict[str, Any]]


class Start:
    """How a scheme starts a model, and what the optimizer is given.

    Args:
        scheme: one of the settings'.
        build: a new model of the size that is trained.
        base: a new model of the base's size.
        example: the batch that plans see.
        optimizer: "adamw" or "sgd".
    """

    def __init__(
        self,
        scheme: str,
        build: Callable[[], nn.Module],
        base: Callable[[], nn.Module],
        example: Any,
        optimizer: str,
    ) -> None:
        self.scheme, self.build = scheme, build
        self.transfer: isoinit.Transfer | None = None
        self.plan: isoinit.Plan | None = None
        if scheme in TRANSFERS:
            asked: dict[str, Any] = TRANSFERS[scheme]
            self.transfer = isoinit.transfer(base(), build(), example, optimizer=optimizer, **asked)
            self.plan = self.transfer.plan
        elif scheme == PLAN:
            self.plan = isoinit.plan(build(), example)

    def model(self, seed: int) -> nn.Module:
        """Return a new model with its initial parameters."""
        torch.manual_seed(seed)
        model = self.build()
        if self.plan is not None:
            self.plan.apply(model, seed=seed)
        return model.train()

    def groups(self, model: nn.Module, rate: float) -> Groups:
        """Return the groups of the optimizer, for the base's rate."""
        if self.transfer is None:
            return [{"params": list(model.parameters()), "lr": rate, "weight_decay": 0.0}]
        return list(self.transfer.groups(model, lr=rate, weight_decay=0.0))


def optimizer_of(kind: str, groups: Groups) -> torch.optim.Optimizer:
    """Return the optimizer that trains some groups."""
    if kind == "sgd":
        return torch.optim.SGD(groups, momentum=MOMENTUM)
    return torch.optim.AdamW(groups, fused=True)


def share(step: int, steps: int) -> float:
    """Return which part of its rate a run has at a step, counted from 0."""
    warm = max(1, steps // WARM)
    if step < warm:
        return (step + 1) / warm
    return 1 - (1 - END) * (step - warm) / max(1, steps - 1 - warm)


def train(task: Task, start: Start, kind: str, exponent: int, seed: int, steps: int) -> float:
    """Return the loss of one run; infinite if it failed."""
    model = start.model(seed)
    optimizer = optimizer_of(kind, start.groups(model, 2.0**exponent))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share(step, steps))
    losses: list[float] = []
    tail = max(1, steps // TAIL)
    for step, batch in zip(range(steps), task.batches(seed), strict=False):
        value = loss_of(model, batch)
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            return math.inf
        if step >= steps // 2 and statistics.fmean(losses[-tail:]) > task.guess:
            return math.inf
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
    return statistics.fmean(losses[-tail:])


def walk(
    losses: Callable[[int], list[float]], start: int, others: Iterable[int] = ()
) -> dict[int, list[float]]:
    """Return the losses at the rates around the best one, and at some others.

    Args:
        losses: those of every seed at a rate, of which log2 is given.
        start: where to begin.
        others: rates that are tried in any case.
    """
    found: dict[int, list[float]] = {}
    ahead: int | None = start
    while ahead is not None:
        found[ahead] = losses(ahead)
        ahead = _next(found, others)
    return dict(sorted(found.items()))


def _next(found: Mapping[int, list[float]], others: Iterable[int]) -> int | None:
    """Return the rate that is tried next; None if all around the best are."""
    means = {exponent: statistics.fmean(values) for exponent, values in found.items()}
    best = min(means, key=means.__getitem__)
    around = [best + by * far for far in range(1, PAST + 1) for by in (-1, 1)]
    if math.isinf(means[best]):  # all failed: a lower rate may not
        around = [min(found) - 1]
    wanted = (e for e in (*others, *around) if e not in found and LEAST <= e <= MOST)
    return next(wanted, None)


def builders(sweep: Sweep, size: int) -> tuple[Callable[[], nn.Module], Callable[[], nn.Module]]:
    """Return what builds the model of a size, and the base's."""
    task = TASKS[sweep.task]

    def build(some: int) -> nn.Module:
        width, depth = (some, sweep.other) if sweep.by == "width" else (sweep.other, some)
        return task.build(width, depth)

    return lambda: build(size), lambda: build(sweep.base)


def cell(sweep: Sweep, scheme: str, size: int, others: Iterable[int] = ()) -> Mapping[str, Any]:
    """Return the losses of one scheme at one size, by log2 of the rate, and the seconds they took."""
    begin = time.perf_counter()
    task = TASKS[sweep.task]
    start = Start(scheme, *builders(sweep, size), task.example(), sweep.optimizer)

    def losses(exponent: int) -> list[float]:
        return [
            train(task, start, sweep.optimizer, exponent, seed, sweep.steps)
            for seed in range(sweep.seeds)
        ]

    found = walk(losses, sweep.start, others)
    return {"runs": found, "seconds": round(time.perf_counter() - begin, 1)}
