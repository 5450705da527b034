"""The contest as a section of docs/evidence.md, and its picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence.contest.judge import JUDGED, Judged, judge, scores
from evidence.contest.protocol import FAR, LEVEL, NEAR, RATES, SEEDS, STEPS
from evidence.contest.rivals import PLAN

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
TITLES = {
    "development": "on the models that rules were tried on",
    "fresh": "on fresh models",
    "second": "on a second fresh set",
}
FLOOR = 0.8  # of the models, on which the plan is to be first or within noise


def document(name: str, rows: Sequence[Mapping[str, Any]], remarks: str) -> str:
    """Return the section of one set.

    Args:
        name: that of the set.
        rows: what `race` gave for each model.
        remarks: what is to be said of models on which the plan is behind.

    Raises:
        ValueError: if the contest of a model failed: its words stand in the row.
    """
    if failed := [row for row in rows if "results" not in row]:
        said = (f"{row['family']}: {row.get('failed') or row.get('why')}" for row in failed)
        raise ValueError("no results for " + "; ".join(said))
    judged = {kind: [judge(row, kind) for row in rows] for kind in JUDGED}
    parts = [f"## The choice of the plan, {TITLES[name]}", "", _setting(name, len(rows)), ""]
    for kind in JUDGED:
        parts += [f"### By {kind} loss", "", summary(judged[kind]), "", ranking(judged[kind]), ""]
    parts += ["### Each model", "", table(rows, judged["training"]), ""]
    errors = _errors(rows)
    if errors:
        parts += ["Failed (a dash in the table), with the error:", "", *errors, ""]
    parts += [remarks.strip(), ""] if remarks.strip() else []
    draw(name, judged["training"])
    parts += [f"![The choice of the plan, {TITLES[name]}](pictures/contest-{name}.svg)", ""]
    return "\n".join(parts)


def _setting(name: str, models: int) -> str:
    return (
        f"*Setting.* {models} models and tasks (`evidence/contest/{name}`), {STEPS} steps of AdamW. "
        "Each initialization uses the best of the learning rates "
        f"{', '.join(f'{r:g}' for r in RATES)}, chosen with a separate seed, and then {len(SEEDS)} "
        f"seeds. If its loss with the separate seed is more than {FAR:g} times the best, it is not "
        "run further, and its result is in brackets. An initialization is ahead of the plan if its "
        f"log loss is lower by Welch's t-test at {LEVEL:.0%}, with Holm's correction over all "
        "initializations of a model. The protocol (`evidence/contest/protocol.py`) was fixed before "
        f"the first run. `python -m evidence.contest {name}`."
    )


def summary(judged: Sequence[Judged]) -> str:
    """Return in a sentence on how many models the plan is first or within noise, and where not."""
    behind = [model for model in judged if model.ahead]
    first = len(judged) - len(behind)
    alone = [m.name for m in judged if m.best == PLAN]
    text = (
        f"The plan is first or within noise on **{first} of {len(judged)}** models "
        f"({first / len(judged):.0%}; aim: {FLOOR:.0%}), and has the lowest mean on {len(alone)}."
    )
    if behind:
        said = "; ".join(
            f"{m.name} ({', '.join(m.ahead)}; the plan {m.behind(PLAN):.2f} × the best)"
            for m in behind
        )
        text += f" Behind on: {said}."
    return text


def ranking(judged: Sequence[Judged]) -> str:
    """Return the contestants by mean rank: a row a contestant."""
    rows = [
        f"| contestant | mean rank | within {NEAR:g} × of the best | worst, by the best |",
        "|---|---|---|---|",
    ]
    for method, score in scores(judged).items():
        worst = max(model.behind(method) for model in judged)
        said = f"{worst:.3g} ×" if math.isfinite(worst) else "fails"
        name = f"**{method}**" if method == PLAN else method
        rows.append(f"| {name} | {score.rank:.2f} | {score.near:.0%} | {said} |")
    return "\n".join(rows)


def table(rows: Sequence[Mapping[str, Any]], judged: Sequence[Judged]) -> str:
    """Return all losses: a row a model, a column a contestant, geometric means over seeds."""
    methods = list(judged[0].means)
    lines = [f"| model | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for row, model in zip(rows, judged, strict=True):
        cells = " | ".join(_cell(row, model, method) for method in methods)
        lines.append(f"| {model.name} | {cells} |")
    return "\n".join(
        [
            "The final training loss minus its lower bound: the geometric mean over seeds, "
            "the lowest in bold.",
            "",
            *lines,
        ]
    )


def _cell(row: Mapping[str, Any], model: Judged, method: str) -> str:
    mean = model.means[method]
    if "error" in row["results"][method]:
        return "–"
    if not math.isfinite(mean):
        return "(∞)"
    text = f"{math.exp(mean):.3g}"
    if method in model.out:
        return f"({text})"
    return f"**{text}**" if method == model.best else text


def _errors(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    found = {
        f"- {method} on {row['family']}: {result['error'][:120]}"
        for row in rows
        for method, result in row["results"].items()
        if "error" in result
    }
    return sorted(found)


def draw(name: str, judged: Sequence[Judged]) -> None:
    """Draw how many times the best loss each contestant has on each model."""
    from evidence.claims.claim import save
    from matplotlib.figure import Figure

    order = list(scores(judged))
    figure = Figure(figsize=(8, 0.35 * len(order) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, method in enumerate(order):
        ratios = [min(model.behind(method), 1e3) for model in judged]
        colour = "tab:red" if method == PLAN else "tab:blue"
        axes.plot(ratios, [place] * len(ratios), "o", color=colour, alpha=0.4, markersize=5)
        middle = math.exp(statistics.median(map(math.log, ratios)))
        axes.plot(middle, place, "|", color="black", markersize=14)
    axes.axvline(NEAR, color="grey", linewidth=1, linestyle="dotted")
    axes.set(xscale="log", xlabel="training loss, by the best of a model (bar: median)")
    axes.set_yticks(range(len(order)), order)
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    save(figure, f"contest-{name}")
