"""A method's turns: initialize, look at the signal, train; what is done stays when it is stopped."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from isoinit._planning.asked import Only
from isoinit._reading.torch.names import unwrap
from isoinit._verifying.comparing.methods import Start, built, start
from isoinit._verifying.comparing.results import Compared, Run
from isoinit._verifying.comparing.training import (
    Steps,
    Task,
    Training,
    objective,
    plain_optimizer,
)
from isoinit._verifying.health.checks import check
from isoinit._verifying.health.results import Health
from isoinit.errors import TraceError, UnknownParameterError

Advance = Callable[[str, int], None]


@dataclass(frozen=True)
class Given:
    """What all methods share: how to build the model, what to train it on, and how."""

    build: Callable[[], nn.Module]
    task: Task
    optimizer: str
    lr: float
    only: Only | None = None


class Trial:
    """One method."""

    def __init__(self, name: str, method: str | Start, given: Given) -> None:
        self.name, self.method, self.given = name, method, given
        self.model = ""
        self.health: Health | None = None
        self.error = ""
        self.fill_seconds = float("nan")
        self.bytes = 0
        self.steps: dict[int, Steps] = {}  # by seed

    def train(self, seed: int, steps: int, advance: Advance) -> None:
        """Initialize the model under a seed, and train it; the first time look at its signal too."""
        what = f"{self.name}, seed {seed}"
        training = None if self.error else self._begun(seed)
        for done in range(steps):
            if training is None or training.steps.diverged:
                advance(what, steps - done)
                break
            if self.bytes:
                training.step()
            else:
                self.bytes = training.measured_step()
            advance(what, 1)

    def _begun(self, seed: int) -> Training | None:
        """The training of a model that the method has initialized; None where it cannot."""
        begin = time.perf_counter()
        torch.manual_seed(seed)
        model = built(self.given.build)
        self.model = type(unwrap(model)).__name__
        given = self.given
        try:
            model, chosen = start(model, self.method, given.task.batch, seed, given.only)
        # The model does not run on the batch, or has no such parameter, under no method.
        except (TraceError, UnknownParameterError):
            raise
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            return None
        seconds = time.perf_counter() - begin
        if self.health is None:
            self.fill_seconds = seconds
            batch, loss = given.task.at(0)
            self.health = check(model, batch, loss=partial(objective, loss=loss), plan=chosen)
        torch.manual_seed(seed)  # dropout is the same however many numbers the method drew
        self.steps[seed] = Steps()
        optimizer = plain_optimizer(model, given.optimizer, given.lr)
        return Training(model, given.task, optimizer, self.steps[seed])

    def result(self, steps: int) -> Compared:
        """What came of it so far."""
        runs = tuple(
            Run(
                seed,
                tuple(taken.losses),
                len(taken.losses) == steps or taken.diverged,
                statistics.median(taken.seconds),
            )
            for seed, taken in self.steps.items()
            if taken.seconds
        )
        return Compared(self.name, self.health, runs, self.error, self.fill_seconds, self.bytes)
