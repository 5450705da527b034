"""One method's turns with a torch model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from isoinit._planning.asked import Only
from isoinit._reading.torch.names import unwrap
from isoinit._verifying.comparing import turns
from isoinit._verifying.comparing.torch.starts import Start, built, start
from isoinit._verifying.comparing.torch.training import Task, Training, objective, plain_optimizer
from isoinit._verifying.comparing.turns import Advance, Steps
from isoinit._verifying.health.torch.checks import check
from isoinit.errors import TraceError, UnknownParameterError


@dataclass(frozen=True)
class Given:
    """What all methods share: how to build the model, what to train it on, and how."""

    build: Callable[[], nn.Module]
    task: Task
    optimizer: str
    lr: float
    only: Only | None = None


class Trial(turns.Trial):
    """One method."""

    def __init__(self, name: str, method: str | Start, given: Given) -> None:
        super().__init__(name)
        self.method, self.given = method, given

    def train(self, seed: int, steps: int, advance: Advance) -> None:
        """Initialize the model under a seed, and train it."""
        with torch.enable_grad():  # whatever the caller has set
            super().train(seed, steps, advance)

    def begun(self, seed: int) -> Training | None:
        """Return the training of a model that the method has initialized; None where it cannot."""
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
