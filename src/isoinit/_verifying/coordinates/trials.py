"""One short training of one width under one seed, and how far each of its steps moves the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch.names import unwrap
from isoinit._reading.torch.numbers import doubled
from isoinit._reading.torch.rng import seed_generators
from isoinit._verifying.comparing.torch.training import Stepped, Task, Training
from isoinit._verifying.comparing.turns import Steps
from isoinit._verifying.coordinates.outputs import Output, read_outputs

Advance = Callable[[str, int], None]


@dataclass(frozen=True)
class Moved:
    """How far training moved one output.

    Attributes:
        part: "layer", "scores" or "output".
        parameter: the weight that makes it, as at its first use; "" for anything else.
        terms: its fan-in; 0 where no weight makes it.
        size: how many numbers it holds.
        changes: the root mean square of its change since the start, after each step: NaN behind a
            step whose loss was not finite.
    """

    part: str
    parameter: str
    terms: float
    size: int
    changes: tuple[float, ...]


@dataclass(frozen=True)
class Trial:
    """What came of one training.

    Attributes:
        model: its class.
        width, seed: of it.
        moved: how far each output moved, by name.
        reshaped: the outputs that were of another shape after a step, as those of experts are.
        losses: before each step.
    """

    model: str
    width: int
    seed: int
    moved: dict[str, Moved]
    reshaped: tuple[str, ...]
    losses: tuple[float, ...]

    @property
    def diverged(self) -> bool:
        """Whether the loss was no longer finite."""
        return not all(map(math.isfinite, self.losses))


def run_trial(
    width: int,
    seed: int,
    begin: Callable[[int, int], tuple[nn.Module, Stepped]],
    task: Task,
    steps: int,
    advance: Advance,
) -> Trial:
    """Train a model for a few steps, and measure its outputs before and after each.

    Args:
        width: of the model.
        seed: of its constructor, its initialization and of dropout.
        begin: makes the model, and what trains it.
        task: what is learned; outputs are measured on its batch.
        steps: how many.
        advance: told what is done.
    """
    seed_generators(seed)
    model, optimizer = begin(width, seed)
    first = _read(model, task.batch, seed)
    changes: dict[str, list[float]] = {name: [] for name in first}
    training = Training(model, task, optimizer, Steps())
    for step in range(steps):
        seed_generators(seed + step + 1)
        with torch.enable_grad():  # whatever the caller has set
            training.step()
        now = {} if training.steps.diverged else _read(model, task.batch, seed)
        for name, output in first.items():
            if training.steps.diverged:
                changes[name].append(math.nan)
            elif name in now and now[name].tensor.shape == output.tensor.shape:
                changes[name].append(_distance(now[name], output))
        advance(f"width {width}, seed {seed}", 1)
        if training.steps.diverged:
            advance(f"width {width}, seed {seed}", steps - step - 1)
            break
    filled = {n: (*c, *[math.nan] * (steps - len(c))) for n, c in changes.items()}
    same = {n for n, c in changes.items() if len(c) == len(training.steps.losses)}
    moved = {
        name: Moved(one.part, one.parameter, one.terms, one.size, filled[name])
        for name, one in first.items()
        if name in same
    }
    reshaped = tuple(name for name in first if name not in same)
    name = type(unwrap(model)).__name__
    return Trial(name, width, seed, moved, reshaped, tuple(training.steps.losses))


def _read(model: nn.Module, batch: Any, seed: int) -> dict[str, Output]:
    """What the model makes of the batch; its dropout is the same each time."""
    seed_generators(seed)
    return read_outputs(model, batch)


def _distance(now: Output, before: Output) -> float:
    """The root mean square of a change; what is masked before and after, at -inf, has not changed."""
    after, first = doubled(now.tensor), doubled(before.tensor)
    change = torch.where(after == first, 0.0, after - first)
    return float(torch.linalg.vector_norm(change)) / math.sqrt(now.size)
