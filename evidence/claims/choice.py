"""The choice itself: `isoinit.plan` beside torch's default, each single method, and two peers."""

from __future__ import annotations

import contextlib
import io
import math
import statistics
import warnings
from collections.abc import Mapping
from typing import Any

from evidence.claims.claim import Claim, Found, main, save
from evidence.claims.tasks import TASKS, Task
from torch import nn
from transformers import logging

import isoinit
from isoinit.comparing import METHODS, Compared

RATES = (3e-4, 1e-3, 3e-3)
SEEDS, OTHER = range(5), 100
STEPS = 80
NEEDED = 0.9  # of the models, on which the plan is to be first or within noise of the first


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
            return self.model(**given) if isinstance(given, Mapping) else self.model(given)

    with contextlib.redirect_stdout(io.StringIO()):
        lsuv_with_singlebatch(Called(), batch, verbose=False)


def planned(task: Task, method: str) -> Any:
    """What a plan gives, made once and applied under each seed."""
    plan = isoinit.plan(task.build(), task.data(0)[0], method=method)
    return lambda model, _batch, seed: plan.apply(model, seed)


def contestants(task: Task) -> dict[str, Any]:
    """All that start the model."""
    ours = {name: planned(task, name) for name in METHODS if name not in ("default", "plan")}
    return {
        "plan": planned(task, "auto"),
        "default": "default",
        **ours,
        "anyinit": anyinit,
        "anyinit, measured": anyinit_measured,
        "lsuv": lsuv,
    }


def trained(task: Task, methods: dict[str, Any], rate: float, seeds: Any) -> list[Compared]:
    """What comes of each method at one learning rate."""
    found = isoinit.compare(
        task.build,
        task.data(0)[0],
        methods,
        STEPS,
        data=task.data,
        seeds=seeds,
        lr=rate,
        progress=False,
    )
    return list(found)


def contest(task: Task) -> dict[str, Compared]:
    """What came of each method at the learning rate that suits it best, under a seed of its own."""
    methods = contestants(task)
    best: dict[str, tuple[float, float]] = {}
    for rate in RATES:
        for compared in trained(task, methods, rate, [OTHER]):
            size = math.inf if compared.final is None else compared.final.median
            best[compared.method] = min(
                best.get(compared.method, (math.inf, RATES[0])), (size, rate)
            )
    found = {}
    for rate in RATES:
        if some := {name: m for name, m in methods.items() if best[name][1] == rate}:
            found.update({c.method: c for c in trained(task, some, rate, SEEDS)})
    return {name: found[name] for name in methods}


def finals(compared: Compared) -> list[float]:
    """The loss at the end under each seed."""
    return [run.final for run in compared.runs]


def behind(plan: list[float], other: list[float]) -> bool:
    """Whether the plan's loss is higher by more than noise: two standard errors of the difference."""
    if not other or not all(map(math.isfinite, other)):
        return False
    if not all(map(math.isfinite, plan)):
        return True
    noise = math.sqrt((statistics.variance(plan) + statistics.variance(other)) / len(plan))
    return statistics.fmean(plan) - statistics.fmean(other) > 2 * noise


def steps_to(compared: Compared, goal: float) -> float:
    """After how many steps the mean loss of ten is down to the goal: the median over seeds."""
    counts = []
    for run in compared.runs:
        means = [statistics.fmean(run.losses[i : i + 10]) for i in range(len(run.losses) - 9)]
        counts.append(next((i + 10 for i, mean in enumerate(means) if mean <= goal), math.inf))
    return statistics.median(counts) if counts else math.inf


def run() -> tuple[list[Found], str]:
    """The contest on every model."""
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    results = {name: contest(task) for name, task in TASKS.items()}
    found, first = [], 0
    for name, methods in results.items():
        plan = finals(methods["plan"])
        better = [other for other, c in methods.items() if behind(plan, finals(c))]
        first += not better
        ranked = sorted(methods, key=lambda m: _middle(methods[m]))
        others = [other for other in ranked if other != "plan"]
        steps = steps_to(methods["plan"], TASKS[name].goal)
        found.append(
            Found(
                f"{name}: loss after {STEPS} steps, and steps to {TASKS[name].goal}",
                "first, or within noise of the first",
                f"plan {_words(methods['plan'])} in {steps:.0f}; next {others[0]} "
                f"{_words(methods[others[0]])} in {steps_to(methods[others[0]], TASKS[name].goal):.0f}"
                + (f"; better: {', '.join(better)}" if better else ""),
                not better,
            )
        )
    needed = math.ceil(NEEDED * len(TASKS))
    found.append(
        Found(
            f"models, of {len(TASKS)}, on which the plan is first or within noise",
            f"at least {needed}",
            str(first),
            first >= needed,
        )
    )
    draw(results)
    return found, table(results)


def table(results: dict[str, dict[str, Compared]]) -> str:
    """All losses: a row a model, a column a method."""
    methods = list(next(iter(results.values())))
    rows = [f"| model | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for name, found in results.items():
        least = min(map(_middle, found.values()))
        cells = [_cell(c, least) for c in found.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    failed = {
        f"{method}: {c.error}"
        for found in results.values()
        for method, c in found.items()
        if c.error
    }
    said = "\n".join(f"- {' '.join(error.split())[:160]}" for error in sorted(failed))
    return "\n".join(["Median loss at the end over five seeds, the lowest in bold:", "", *rows]) + (
        f"\n\nRefused or failed (\u2013 in the table):\n\n{said}" if said else ""
    )


def _cell(compared: Compared, least: float) -> str:
    middle = _middle(compared)
    if not compared.runs:
        return "–"
    if middle == math.inf:
        return "diverged"
    return f"**{middle:.3g}**" if middle == least else f"{middle:.3g}"


def _middle(compared: Compared) -> float:
    return math.inf if compared.final is None else compared.final.median


def _words(compared: Compared) -> str:
    final = compared.final
    return "failed" if final is None else f"{final.median:.3g} ({final.low:.3g}–{final.high:.3g})"


def draw(results: dict[str, dict[str, Compared]]) -> None:
    """Each method's loss by that of the plan."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    methods = [m for m in next(iter(results.values())) if m != "plan"]
    marks = "osD^v<>ph*XP"
    for method, mark in zip(methods, marks, strict=True):
        ratios = [_middle(r[method]) / _middle(r["plan"]) for r in results.values()]
        axes.plot(ratios, range(len(results)), mark, label=method, alpha=0.7, markersize=5)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(
        xscale="log", xlabel="loss at the end, by that of the plan (right: worse than the plan)"
    )
    axes.set_yticks(range(len(results)), list(results))
    axes.invert_yaxis()
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save(figure, "choice")


CLAIM = Claim(
    "choice",
    "The choice of the plan",
    "What `isoinit.plan` chooses trains as well as the best of the methods, or better, on almost any "
    "model, and without a choice by hand.",
    "the mission of this library",
    f"{len(TASKS)} small models on digits and on the characters of a text; {STEPS} steps of Adam, "
    f"batches of 64 at most; each method at the best of three learning rates "
    f"({', '.join(map(str, RATES))}), chosen under a seed of its own, then {len(SEEDS)} "
    "seeds. Within noise: less than two standard "
    "errors above. anyinit 0.4.0 as in its README and in its measuring mode, lsuv 0.3.0.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
