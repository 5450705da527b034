"""What came of all methods, side by side: tables, a page and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isoinit._showing.findings import plain
from isoinit._showing.page import Page, Shown
from isoinit._showing.sparkline import sparkline
from isoinit._showing.table import render
from isoinit._verifying.comparing.pages import comparison_page
from isoinit._verifying.comparing.results import Compared, Spread
from isoinit.errors import ArgumentError

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
        facts = [("seeds", ", ".join(map(str, self.seeds))), ("task", self.task)]
        if self.steps:
            trained = f"{self.steps} steps of {self.optimizer} at {self.lr:g}"
            facts.insert(0, ("training", trained))
        if self.best is not None:
            facts.append(("lowest loss", self.best))
        return comparison_page(self.model, self.methods, facts, complete=self.complete)

    def __str__(self) -> str:
        return f"{self._signals()}\n\n{self._trainings()}" if self.steps else self._signals()

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
