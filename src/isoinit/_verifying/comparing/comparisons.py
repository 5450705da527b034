"""`compare`: which initialization is right for this model?"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch import as_arguments
from isoinit._reading.torch.rng import generators_kept
from isoinit._showing.findings import plain
from isoinit._showing.page import Page, Shown
from isoinit._showing.progress import steps_shown
from isoinit._showing.sparkline import sparkline
from isoinit._showing.table import render
from isoinit._verifying.comparing.methods import METHODS, Start, resolve_methods
from isoinit._verifying.comparing.pages import comparison_page
from isoinit._verifying.comparing.results import Compared, Spread
from isoinit._verifying.comparing.training import Data, Task
from isoinit._verifying.comparing.trials import Given, Trial
from isoinit._verifying.health.results import refuse_optimizer
from isoinit._verifying.losses import GivenLoss, inputs_and_loss
from isoinit.errors import ArgumentError, Interrupted

WIDTH = 10  # of the curves in the printed tables


@dataclass(frozen=True)
class Comparison(Shown):
    """One model under several initializations.

    Iterate over it for what came of each method, or read one with `comparison["plan"]`. Printing it
    shows two tables: the signal at the start, and the training, the lowest loss first.

    Attributes:
        model: the model's class.
        methods: what came of each.
        seeds, steps, optimizer, lr: as they were given.
        task: what was learned, in words.
        complete: whether all trainings ran; False where they were interrupted.
    """

    model: str
    methods: tuple[Compared, ...]
    seeds: tuple[int, ...]
    steps: int
    optimizer: str
    lr: float
    task: str
    complete: bool

    def __iter__(self) -> Iterator[Compared]:
        return iter(self.methods)

    def __getitem__(self, method: str) -> Compared:
        for compared in self.methods:
            if compared.method == method:
                return compared
        known = ", ".join(c.method for c in self.methods)
        raise ArgumentError(f"no method {method!r} in this comparison; it has {known}")

    @property
    def best(self) -> str | None:
        """The method with the lowest loss at the end; None where no training ended finite."""
        ranked = self._ranked()
        return ranked[0].method if ranked and _size(ranked[0]) < math.inf else None

    def to_json(self) -> str:
        """The comparison as JSON; numbers that are not finite become null.

        All but times is the same for the same arguments on the same machine.
        """
        head = {
            "model": self.model,
            "seeds": self.seeds,
            "steps": self.steps,
            "optimizer": self.optimizer,
            "lr": self.lr,
            "task": self.task,
            "complete": self.complete,
            "best": self.best,
        }
        methods = [compared.to_dict() for compared in self.methods]
        return json.dumps(plain({**head, "methods": methods}), indent=1, allow_nan=False)

    def _page(self) -> Page:
        facts = [
            ("training", f"{self.steps} steps of {self.optimizer} at {self.lr:g}"),
            ("seeds", ", ".join(map(str, self.seeds))),
            ("task", self.task),
        ]
        if self.best is not None:
            facts.append(("lowest loss", self.best))
        return comparison_page(self.model, self.methods, facts, complete=self.complete)

    def __str__(self) -> str:
        return f"{self._signals()}\n\n{self._trainings()}"

    def _signals(self) -> str:
        """The table of the signal at the start."""
        checked = [c.health for c in self.methods if c.health is not None]
        scales = _range([h.forward for h in checked]), _range([h.backward for h in checked])
        rows = []
        for compared in self.methods:
            health = compared.health
            curves = ([], []) if health is None else (health.forward, health.backward)
            cells = [
                cell
                for curve, (low, high) in zip(curves, scales, strict=True)
                for cell in (sparkline(curve, WIDTH, low=low, high=high), _ends(curve))
            ]
            rows.append((compared.method, *cells, compared.verdict))
        return render(
            f"{self.model} at the start: the signal by depth",
            ("method", "forward", "first–last", "backward", "first–last", "check"),
            rows,
            warnings=[said for c in self.methods if (said := _said(c))],
        )

    def _trainings(self) -> str:
        """The table of the trainings."""
        ranked = self._ranked()
        curves = {c.method: [s.median for s in c.curve()] for c in ranked}
        low, high = _range(list(curves.values()))
        rows = [
            (
                c.method,
                sparkline(curves[c.method], WIDTH, low=low, high=high),
                f"{curves[c.method][0]:.3g}",
                _final(c.final),
                f"{1e3 * (c.step_seconds or 0):.3g}",
                f"{c.bytes / 2**20:.3g}",
            )
            for c in ranked
        ]
        count = len(self.seeds)
        stopped = [] if self.complete else ["interrupted: what was done until then is shown"]
        return render(
            f"{self.steps} steps of {self.optimizer} at {self.lr:g}, {count} "
            f"seed{'s' * (count != 1)}: {self.task}",
            ("method", "loss", "start", "end: median (range)", "ms a step", "MiB"),
            rows,
            notes=["loss at the end: the mean of the last tenth of the steps, over the seeds"],
            warnings=stopped,
        )

    def _ranked(self) -> list[Compared]:
        """The methods that were trained, the lowest loss first."""
        return sorted((c for c in self.methods if c.runs), key=_size)


def compare(
    build_model: Callable[[], nn.Module],
    batch: Any,
    methods: Iterable[str] | Mapping[str, str | Start] = METHODS,
    steps: int = 200,
    *,
    loss: GivenLoss | None = None,
    data: Data | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    optimizer: str = "adam",
    lr: float = 1e-3,
    only: str | Sequence[str] | None = None,
    progress: bool = True,
) -> Comparison:
    """Start one model under several initializations, side by side, and train it for a while.

    Of each method: the signal at the start as `isoinit.check` measures and judges it, the loss over
    a short training under several seeds, the time of a step, and the memory that a step keeps.
    The same arguments give the same numbers (but times), as far as the model's own operations do.
    Ctrl-C ends it early and keeps what is done. Random number generators are as before afterwards.

    Args:
        build_model: takes nothing and returns a new model at each call, in the mode and on the device
            to train it.
        batch: an example, as for `isoinit.check`; each step trains on it, where `data` gives no other.
        methods: names of "default" (what the constructor gives), "plan" (what `isoinit.plan` chooses)
            and the eight methods of `isoinit.plan`; or a mapping from names of your own to these, or
            to functions `start(model, batch, seed)` that initialize the model in place, or return
            another; they get what the model takes of the batch. All ten by default. A method that
            cannot initialize the model is listed with its error.
        steps: of each training.
        loss: as for `isoinit.check`: of the model's output, or of the output and the targets of a
            batch `(inputs, targets)`. Without one, the output's own `loss` is used if it has one;
            else the model memorizes fixed noise: the mean square distance of its output from normal
            numbers.
        data: a function from a step's number, counted from 0, to the batch of that step and its loss
            (None as above): real training data, the same for every method and seed.
        seeds: one training each, of initialization and dropout; the first also decides `health`.
        optimizer: "adam" or "sgd".
        lr: the learning rate, one for all. A method that needs another one loses by it: compare at
            several before you judge.
        only: what the methods initialize, as for `isoinit.plan`, by patterns; the rest of the model
            keeps the values that `build_model` gives it, such as loaded ones. Functions of your own
            see to it themselves.
        progress: whether to show a bar on standard error, where that is a terminal or a notebook.

    Raises:
        ArgumentError: for an unknown method or optimizer, steps below 1, no seed, a learning rate that
            is not above 0, a batch of another kind, a `build_model` that returns no module, or a
            loss that is not one number.
        UnknownParameterError: if a pattern of `only` matches nothing.
        TraceError: if the forward fails, with the model's own error.
        Interrupted: if SIGINT came; its `done` is the comparison so far, which is not `complete`.

    Example:
        >>> import isoinit, torch
        >>> nn = torch.nn
        >>> def build():
        ...     return nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(32, 32), nn.ReLU())])
        >>> x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
        >>> found = isoinit.compare(build, x, ["default", "plan"], steps=30, seeds=[0])
        >>> found.best, found["default"].health.ok, found["plan"].health.ok
        ('plan', False, True)
    """
    _refuse(steps, seeds, optimizer, lr)
    batch, loss = inputs_and_loss(batch, loss)
    as_arguments(batch)
    given = Given(build_model, Task(batch, loss, data), optimizer, lr, only)
    trials = {name: Trial(name, start, given) for name, start in resolve_methods(methods).items()}
    turns = [(seed, trial) for seed in seeds for trial in trials.values()]
    if torch.cuda.is_available():
        torch.cuda.init()  # seeds that the caller left for its first use are then not overwritten

    def so_far(*, complete: bool) -> Comparison:
        name = next((trial.model for trial in trials.values() if trial.model), "")
        found = tuple(trial.result(steps) for trial in trials.values())
        return Comparison(
            name, found, tuple(seeds), steps, optimizer, lr, str(given.task), complete
        )

    with generators_kept(), steps_shown(len(turns) * steps, visible=progress) as advance:
        try:
            for seed, trial in turns:
                with torch.enable_grad():  # whatever the caller has set
                    trial.train(seed, steps, advance)
        except KeyboardInterrupt as stop:
            told = "stopped before all trainings ran; `done` of this exception holds those that did"
            raise Interrupted(told, so_far(complete=False)) from stop
    return so_far(complete=True)


def _refuse(steps: int, seeds: Sequence[int], optimizer: str, lr: float) -> None:
    if not isinstance(steps, int) or steps < 1:
        raise ArgumentError(f"steps={steps!r}: expected a whole number, at least 1")
    if isinstance(seeds, int) or not seeds:
        raise ArgumentError(
            f"seeds={seeds!r}: expected one whole number or more, such as (0, 1, 2)"
        )
    if len(set(seeds)) < len(seeds):
        raise ArgumentError(f"seeds={seeds!r}: each seed may be given once")
    refuse_optimizer(optimizer, lr)


def _range(curves: Sequence[Sequence[float | None]]) -> tuple[float | None, float | None]:
    """The smallest and the largest size in curves that share a scale; zero has none."""
    sizes = [abs(v) for curve in curves for v in curve if v and math.isfinite(v)]
    return min(sizes, default=None), max(sizes, default=None)


def _ends(curve: Sequence[float | None]) -> str:
    """The first and the last value."""
    known = [value for value in curve if value is not None]
    return "–".join(f"{value:.2g}" for value in (known[0], known[-1])) if known else ""


def _said(compared: Compared) -> str:
    """What speaks against a method, by name; empty if nothing does."""
    names = [] if compared.health is None else [f.name for f in compared.health.failures()]
    against = compared.error or ", ".join(dict.fromkeys(names))
    return f"{compared.method}: {against}" if against else ""


def _final(final: Spread | None) -> str:
    if final is None:
        return "not complete"
    if final.median == math.inf:
        return "diverged"
    return f"{final.median:.3g} ({final.low:.3g}–{final.high:.3g})"


def _size(compared: Compared) -> float:
    return math.inf if compared.final is None else compared.final.median
