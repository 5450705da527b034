"""`coordinates`: does training move every layer as much at any width?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch import as_arguments
from isoinit._reading.torch.rng import generators_kept
from isoinit._showing.findings import Finding, Verdict
from isoinit._showing.page import Page, Shown
from isoinit._showing.progress import steps_shown
from isoinit._showing.terminal import Printed, Tabled, counted
from isoinit._verifying.comparing.torch.training import Data, Task
from isoinit._verifying.coordinates.judge import judge
from isoinit._verifying.coordinates.moves import Kind, Layer, gathered, kinds_of
from isoinit._verifying.coordinates.pages import coordinates_page
from isoinit._verifying.coordinates.starts import Parametrization, Starts
from isoinit._verifying.coordinates.table import table
from isoinit._verifying.coordinates.trials import Trial, run_trial
from isoinit._verifying.losses import GivenLoss, inputs_and_loss
from isoinit.errors import ArgumentError, UnknownParameterError


@dataclass(frozen=True)
class Coordinates(Tabled, Shown, Verdict):
    """How far training moves the output of each layer, by the width of the model.

    Attributes:
        findings: errors first, then warnings; empty where all slopes are flat.
        layers: in the order in which they run; each has `name`, `kind`, `changes`, `by_width(step)`
            and `slope(step)`.
        model: the model's class.
        widths, seeds, steps, base, optimizer, lr, parametrization: as they were given.
        uncompared: the layers that not every model has in one shape, such as those of experts.
    """

    findings: list[Finding]
    layers: tuple[Layer, ...]
    model: str
    widths: tuple[int, ...]
    seeds: tuple[int, ...]
    steps: int
    base: int
    optimizer: str
    lr: float
    parametrization: str
    uncompared: tuple[str, ...] = ()

    @property
    def kinds(self) -> list[Kind]:
        """The layers by kind: together are those whose names differ in numbers alone."""
        return kinds_of(self.layers)

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UnknownParameterError(name, [layer.name for layer in self.layers], "layer is called")

    def raise_if_uneven(self, *, strict: bool = False) -> None:
        """Raise `UnhealthyError`, listing the errors, if there are any; warnings too if strict."""
        self.raise_if_unhealthy(strict=strict)

    def to_json(self) -> str:
        """The check as JSON; numbers that are not finite become null."""
        return self._json(
            model=self.model,
            widths=self.widths,
            seeds=self.seeds,
            steps=self.steps,
            base=self.base,
            optimizer=self.optimizer,
            lr=self.lr,
            parametrization=self.parametrization,
            layers=[layer.to_dict() for layer in self.layers],
            uncompared=self.uncompared,
        )

    def show(self, *, verbose: bool = False) -> Printed:
        """Return the check as a table: a row a kind of layer, and below it what was found.

        Args:
            verbose: a row for every layer.
        """
        rows = self.kinds
        if verbose:
            rows = [Kind(layer.name, layer.kind, (layer,)) for layer in self.layers]
        verdict = "even" if self.ok else "uneven"
        title = f"{verdict}: {self.model} at widths {self._of_widths()}, {self._training()}"
        return table(title, rows, self.findings, self.steps, self.uncompared)

    def __repr__(self) -> str:
        verdict = "even" if self.ok else "uneven"
        through = counted(len(self.layers), "layer")
        return f"<Coordinates: {verdict}, {through}, widths {self._of_widths()}>"

    def _of_widths(self) -> str:
        return ", ".join(map(str, self.widths))

    def _training(self) -> str:
        taken = f"{counted(self.steps, 'step')} of {self.optimizer} at {self.lr:g}"
        if self.parametrization == "transfer":
            return f"{taken}, transferred from {self.base}"
        return taken if self.parametrization == "own" else f"{taken} for all"

    def _page(self) -> Page:
        facts = [
            ("training", self._training()),
            ("parametrization", self.parametrization),
            ("seeds", ", ".join(map(str, self.seeds))),
        ]
        title = f"Coordinates of {self.model} by width"
        return coordinates_page(title, self, self.kinds, self.widths, self.steps, facts)


def coordinates(
    build: Callable[[int], nn.Module],
    widths: Sequence[int] = (64, 128, 256, 512),
    base: int | None = None,
    batch: Any = None,
    *,
    optimizer: str = "adamw",
    lr: float = 2e-3,
    loss: GivenLoss | None = None,
    data: Data | None = None,
    steps: int = 3,
    seeds: Sequence[int] = (0, 1),
    parametrization: Parametrization = "transfer",
    progress: bool = True,
) -> Coordinates:
    """Return how much a few training steps change each layer's output at several widths.

    If a parametrization transfers, training changes each layer's output equally at any width. For each
    width and seed a model is built, initialized and trained. The output of each layer (found by the
    parameters that the forward pass uses), attention scores and the model's output are measured on
    the batch before and after each step. After the last step, the slope of log2 of the root mean
    square change by log2 of the width must be within ±0.25 for layers. For attention scores and
    outputs it must be at most 0.25, because they may fall with the width at initialization. Random
    generators are restored afterwards, and a model keeps no hooks.

    Flat slopes are necessary for the transfer of a learning rate. They do not prove it.

    Args:
        build: a function that takes a width and returns a new model, in the mode and on the device of
            the training.
        widths: at least three widths in increasing order.
        base: the width whose learning rate is transferred. No width is smaller. By default the first.
        batch: an example, as for `isoinit.check`. Each step trains on it, unless `data` is given.
        optimizer: as for `isoinit.transfer`. "sgd" has a momentum of 0.9.
        lr: the learning rate at the base width.
        loss: as for `isoinit.compare`.
        data: as for `isoinit.compare`: a function from a step's number to its batch and loss.
        steps: the training steps of each run.
        seeds: at least two seeds. Each trains once, and decides initialization and dropout.
        parametrization: "transfer" (`isoinit.transfer` from the base); "standard" (`isoinit.plan`
            and one learning rate for all widths); or a function of a model, its width and a seed that
            initializes the model in place and returns an optimizer, or groups for one.
        progress: whether to show a progress bar on standard error, if that is a terminal or notebook.

    Raises:
        ArgumentError: for fewer than three widths or two seeds, a base that is larger than a width,
            an unknown optimizer or parametrization, steps below 1, a learning rate that is not above
            0, a batch that is not valid, a `build` that fails or returns no module, or a loss that is
            not one number.
        TraceError: if the forward pass fails, with the model's own error.

    Example:
        >>> import isoinit, torch
        >>> nn = torch.nn
        >>> def build(width):
        ...     first, second, last = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 4)
        ...     return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
        >>> x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
        >>> found = isoinit.coordinates(build, (32, 64, 128), batch=x, parametrization="standard")
        >>> found.ok, round(found["2"].slope(step=3))
        (False, 1)
    """
    _refuse(widths, seeds, steps)
    base = widths[0] if base is None else base
    batch, loss = inputs_and_loss(batch, loss)
    starts = Starts(build, base, batch, optimizer, lr, parametrization)
    starts.refuse(widths)
    as_arguments(batch)
    task = Task(batch, loss, data)
    if torch.cuda.is_available():
        torch.cuda.init()  # seeds that the caller left for its first use are then not overwritten
    total = len(widths) * len(seeds) * steps
    with generators_kept(), steps_shown(total, visible=progress) as advance:
        trials = [
            run_trial(width, seed, starts.begin, task, steps, advance)
            for width in widths
            for seed in seeds
        ]
    return _judged(trials, starts, steps)


def _judged(trials: Sequence[Trial], starts: Starts, steps: int) -> Coordinates:
    """What came of the trainings."""
    layers, uncompared = gathered(trials, starts.gauge_of)
    named = starts.parametrization if isinstance(starts.parametrization, str) else "own"
    return Coordinates(
        judge(kinds_of(layers), trials, steps, named, starts.optimizer),
        layers,
        trials[0].model,
        tuple(dict.fromkeys(trial.width for trial in trials)),
        tuple(dict.fromkeys(trial.seed for trial in trials)),
        steps,
        starts.base,
        starts.optimizer,
        starts.lr,
        named,
        uncompared,
    )


def _refuse(widths: Sequence[int], seeds: Sequence[int], steps: int) -> None:
    """Raise `ArgumentError` for what no slopes come of."""
    if not _are_counts(widths) or len(widths) < 3 or list(widths) != sorted(set(widths)):
        raise ArgumentError(
            f"widths={widths!r}: expected three or more increasing integers, such as (64, 128, "
            "256), because two points fit any slope"
        )
    if isinstance(seeds, int) or len(set(seeds)) < max(len(seeds), 2):
        raise ArgumentError(
            f"seeds={seeds!r}: expected two or more different integers, such as (0, 1), because "
            "one training run says little about a slope"
        )
    if not _are_counts([steps]):
        raise ArgumentError(f"steps={steps!r}: expected an integer of at least 1")


def _are_counts(numbers: Any) -> bool:
    """Whether these are integers above 0."""
    return isinstance(numbers, Sequence) and all(isinstance(n, int) and n > 0 for n in numbers)
