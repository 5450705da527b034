"""The turns of each method: start, look at the signal, train; what is done stays if it is stopped."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from isoinit._showing.progress import steps_shown
from isoinit._verifying.comparing.results import Compared, Run
from isoinit._verifying.comparing.side_by_side import Comparison
from isoinit._verifying.health.results import Health, refuse_optimizer
from isoinit.errors import ArgumentError, Interrupted

Advance = Callable[[str, int], None]


@dataclass(frozen=True)
class Asked:
    """What was asked for of every method: see `Comparison`."""

    seeds: Sequence[int]
    steps: int
    optimizer: str
    lr: float


def refuse(asked: Asked, least: int) -> None:
    """Raise ArgumentError for what cannot be asked.

    Args:
        asked: what was.
        least: the smallest number of steps.
    """
    steps, seeds = asked.steps, asked.seeds
    if not isinstance(steps, int) or steps < least:
        raise ArgumentError(f"steps={steps!r}: expected an integer of at least {least}")
    if isinstance(seeds, int) or not seeds:
        raise ArgumentError(f"seeds={seeds!r}: expected one or more integers, such as (0, 1, 2)")
    if len(set(seeds)) < len(seeds):
        raise ArgumentError(f"seeds={seeds!r}: a seed appears twice. Give each seed once")
    refuse_optimizer(asked.optimizer, asked.lr)


@dataclass
class Steps:
    """The steps taken so far: the loss before each, and the seconds that it took."""

    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def diverged(self) -> bool:
        """Whether the last loss was not finite."""
        return bool(self.losses) and not math.isfinite(self.losses[-1])


class Training(Protocol):
    """Takes steps, and notes them in `steps`."""

    steps: Steps

    def step(self) -> None:
        """Take one step of training."""

    def measured_step(self) -> int:
        """Take one step of training; return the bytes that it keeps."""


class Trial(ABC):
    """One method.

    Attributes:
        name: the method's.
        model: the model's class; empty as long as none was made.
        health, error, fill_seconds, bytes: see `Compared`.
        steps: those of each training, by seed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.model = ""
        self.health: Health | None = None
        self.error = ""
        self.fill_seconds = float("nan")
        self.bytes = 0
        self.steps: dict[int, Steps] = {}

    @abstractmethod
    def begun(self, seed: int) -> Training | None:
        """Initialize the model; the first time look at its signal.

        Returns:
            Its training, whose steps are those of the seed here. None where the method cannot
            initialize it, which `error` then says, or where nothing is trained.
        """

    def train(self, seed: int, steps: int, advance: Advance) -> None:
        """Initialize the model under a seed, and train it."""
        what = f"{self.name}, seed {seed}"
        training = None if self.error else self.begun(seed)
        for done in range(steps):
            if training is None or training.steps.diverged:
                advance(what, steps - done)
                break
            if self.bytes:
                training.step()
            else:
                self.bytes = training.measured_step()
            advance(what, 1)

    def result(self, steps: int) -> Compared:
        """Return what came of it so far."""
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


def in_turns(trials: Sequence[Trial], asked: Asked, task: str, *, visible: bool) -> Comparison:
    """Return what came of all methods: under the first seed each, then under the next.

    Args:
        trials: the methods.
        asked: what was asked of each.
        task: what is learned, in words.
        visible: whether to show a bar.

    Raises:
        Interrupted: if SIGINT came, with what was done until then.
    """
    seeds, steps = asked.seeds, asked.steps
    turns = [(seed, trial) for seed in seeds for trial in trials]

    def so_far(*, complete: bool) -> Comparison:
        name = next((trial.model for trial in trials if trial.model), "")
        found = tuple(trial.result(steps) for trial in trials)
        return Comparison(
            name, found, tuple(seeds), steps, asked.optimizer, asked.lr, task, complete
        )

    with steps_shown(len(turns) * steps, visible=visible) as advance:
        try:
            for seed, trial in turns:
                trial.train(seed, steps, advance)
        except KeyboardInterrupt as stop:
            told = (
                "stopped before all training runs were finished. The attribute `done` of this "
                "exception holds the finished ones"
            )
            raise Interrupted(told, so_far(complete=False)) from stop
    return so_far(complete=True)
