"""The contestants: the plan, each single method, peers, and how a kind of model is published."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import torch
from evidence.contest.task import Task
from torch import nn

import isoinit
from isoinit._verifying.comparing import METHODS

Start = Callable[[nn.Module, Any, int], None]
"""Fills a new model in place, given a batch of its task and a seed."""

PLAN = "plan"
PEERS = ("anyinit", "anyinit, measured", "lsuv")


def contestants(task: Task) -> dict[str, Start]:
    """All that start the model of a task, the plan first."""
    ours = {name: planned(task, name) for name in METHODS if name not in ("default", "plan")}
    return {
        PLAN: planned(task, "auto"),
        "plan, calibrated": calibrated(task),
        "published": published(task),
        "default": default,
        **ours,
        "anyinit": anyinit,
        "anyinit, measured": anyinit_measured,
        "lsuv": lsuv,
    }


def planned(task: Task, method: str) -> Start:
    """What a plan gives, made once and applied under each seed."""
    plan = isoinit.plan(task.build(), task.data(0)[0], method=method)

    def start(model: nn.Module, _batch: Any, seed: int) -> None:
        plan.apply(model, seed)

    return start


def calibrated(task: Task) -> Start:
    """The plan, corrected by what a batch shows under each seed."""
    plan = isoinit.plan(task.build(), task.data(0)[0])

    def start(model: nn.Module, batch: Any, seed: int) -> None:
        plan.calibrate(model, batch, seed=seed).apply(model, seed)

    return start


def published(task: Task) -> Start:
    """How this kind of model is published."""

    def start(model: nn.Module, _batch: Any, seed: int) -> None:
        torch.manual_seed(seed)
        if task.recipe is not None:
            task.recipe(model)

    return start


def default(_model: nn.Module, _batch: Any, _seed: int) -> None:
    """Leave what the constructor drew."""


def anyinit(model: nn.Module, _batch: Any, seed: int) -> None:
    """Anyinit as its README has it: from the model alone."""
    import anyinit

    anyinit.initialize(model, seed=seed)


def anyinit_measured(model: nn.Module, batch: Any, seed: int) -> None:
    """Anyinit on a batch."""
    import anyinit

    anyinit.initialize(model, "empirical", batch, seed=seed)


def lsuv(model: nn.Module, batch: Any, _seed: int) -> None:
    """Layer-sequential unit variance, by its authors' package (Mishkin & Matas 2016)."""
    from lsuv import lsuv_with_singlebatch

    class Called(nn.Module):
        """Takes one argument, as the package passes one."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, given: Any) -> Any:
            if isinstance(given, Mapping):
                return self.model(**given)
            return self.model(*given) if isinstance(given, tuple) else self.model(given)

    with contextlib.redirect_stdout(io.StringIO()):
        lsuv_with_singlebatch(Called(), batch, verbose=False)
