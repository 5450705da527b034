"""The results of one method: its signal at initialization, its trainings, its time and memory."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

from isoinit._verifying.health.results import Health


class Spread(NamedTuple):
    """The median over seeds, and the range."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        seed: that it was initialized with.
        losses: before each step. They end early where the loss was no longer finite (the last one
            tells) or the comparison was interrupted.
        complete: whether it took all steps, or ended because its loss was no longer finite.
        seconds: of a step, the median.
    """

    seed: int
    losses: tuple[float, ...]
    complete: bool
    seconds: float

    @property
    def final(self) -> float:
        """The mean loss over the last tenth of the steps; infinite for a training that diverged."""
        if not math.isfinite(self.losses[-1]):
            return math.inf
        return statistics.fmean(self.losses[-max(len(self.losses) // 10, 1) :])


@dataclass(frozen=True)
class Compared:
    """The results of one method.

    Attributes:
        method: its name.
        health: `isoinit.check` of the model at initialization, with the first seed; None if the
            method failed or did not run.
        runs: one training for each seed that took a step, in the order of the seeds.
        error: why the method cannot initialize this model; empty if it can.
        fill_seconds: the seconds to build and initialize the model, with the first seed.
        bytes: the memory of a training step: parameters, gradients, the optimizer's state, and what
            the forward pass keeps for the backward pass.
    """

    method: str
    health: Health | None = None
    runs: tuple[Run, ...] = ()
    error: str = ""
    fill_seconds: float = math.nan
    bytes: int = 0

    @property
    def final(self) -> Spread | None:
        """The final loss over the complete trainings; None if no training is complete."""
        return _spread([run.final for run in self.runs if run.complete])

    @property
    def verdict(self) -> str:
        """Whether it gives a model that passes `isoinit.check`."""
        if self.error:
            return "failed"
        if self.health is None:
            return "not run"
        return "healthy" if self.health.ok else "unhealthy"

    @property
    def step_seconds(self) -> float | None:
        """The time of a step: the median of the trainings' medians."""
        return statistics.median(run.seconds for run in self.runs) if self.runs else None

    def curve(self) -> list[Spread]:
        """Return the loss before each step, over the trainings that reached it.

        A training that diverged counts as infinite from there.
        """
        curves = [
            run.losses
            if math.isfinite(run.losses[-1])
            else (*run.losses[:-1], *[math.inf] * (self._longest - len(run.losses) + 1))
            for run in self.runs
        ]
        steps = zip_longest(*curves)
        return [s for step in steps if (s := _spread([x for x in step if x is not None]))]

    @property
    def _longest(self) -> int:
        return max((len(run.losses) for run in self.runs), default=0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with the check's findings and layers."""
        health = self.health
        return {
            "method": self.method,
            "error": self.error,
            "ok": None if health is None else health.ok,
            "findings": [] if health is None else [asdict(f) for f in health.findings],
            "layers": [] if health is None else [asdict(layer) for layer in health.layers],
            "final": self.final and self.final._asdict(),
            "runs": [asdict(run) for run in self.runs],
            "fill_seconds": self.fill_seconds,
            "step_seconds": self.step_seconds,
            "bytes": self.bytes,
        }


def _spread(values: list[float]) -> Spread | None:
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))
