"""What each rule is worth: development models trained from the plan, and from one without the rule.

    python -m evidence.contest.ablation [RULE ...] [--rows FILE] [--jobs 2] [--no-docs]

A rule is taken out of the book, so that the next one that applies decides, or the constructor where
none does; of what all usual weights share, one part is. Learning rates, seeds and losses are those of
the contest (`protocol`). Writes the table of docs/rules.md.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from evidence.claims.claim import settle
from evidence.contest.development import TASKS
from evidence.contest.protocol import LEVEL, RATES, SEEDS, TUNING_SEED
from evidence.contest.race import logged, train
from evidence.contest.rivals import planned
from evidence.contest.task import Task
from evidence.page import DOCS, place
from evidence.sweep import sweep
from scipy.stats import ttest_1samp, ttest_ind

import isoinit
from isoinit._planning.rules import table, usual
from isoinit._planning.rules.rule import Rule

PAGE = DOCS / "rules.md"
LIMIT_S = 3600
MOST = 4  # models a rule; what all usual weights share is tried on all
SHARED = {
    "usual: orthogonal where few": (usual, "FEW", 0),
    "usual: estimates at a quarter": (usual, "ESTIMATE", 1.0),
}
LEFT = Rule("left", lambda _: True, lambda _: None, "any other", "as it was", "no rule is left", "")
RULES = (*dict.fromkeys(rule.name for rule in table.RULES), *SHARED)


@contextmanager
def without(name: str) -> Iterator[None]:
    """Plan without a rule, or without a part of what usual weights share."""
    if name in SHARED:
        module, attribute, value = SHARED[name]
        with patch.object(module, attribute, value):
            yield
    else:
        others = (rule for rule in table.RULES if rule.name != name)
        with patch.object(table, "RULES", (*others, LEFT)):
            yield


@cache
def plans() -> dict[str, isoinit.Plan]:
    """Return the plan of each model."""
    return {name: isoinit.plan(task.build(), task.data(0)[0]) for name, task in TASKS.items()}


def changed(name: str) -> list[str]:
    """Return the models whose plan is another one without a rule, the most changed first."""
    found: dict[str, int] = {}
    for model, own in plans().items():
        if name not in SHARED and all(entry.rule != name for entry in own):
            continue
        task = TASKS[model]
        with without(name):
            other = isoinit.plan(task.build(), task.data(0)[0])
        differ = [e for e in own if e.initializer != other[e.name].initializer]
        if differ:
            found[model] = sum(math.prod(e.shape) for e in differ)
    return sorted(found, key=lambda model: -found[model])


def ablate(name: str) -> dict[str, Any]:
    """Return the log losses of models with and without a rule, as a row for a file."""
    settle()
    models = changed(name)
    results = {}
    for model in models if name in SHARED else models[:MOST]:
        task = TASKS[model]
        own = _losses(task)
        with without(name):
            results[model] = {"with": own, "without": _losses(task)}
    return {"family": name, "models": len(models), "results": results}


def _losses(task: Task) -> list[float]:
    start = planned(task, "auto")
    rate = min(RATES, key=lambda rate: train(task, start, rate, TUNING_SEED)[0])
    return [logged(train(task, start, rate, seed)[0], task.floor) for seed in SEEDS]


def document(rows: list[Mapping[str, Any]]) -> str:
    """Return the table: a row a rule, how the loss changes without it.

    Raises:
        ValueError: if the look at a rule failed.
    """
    if failed := [row for row in rows if "results" not in row]:
        raise ValueError(f"no results for {failed[0]['family']}: {failed[0]}")
    lines = ["| rule | models | loss without it, by that with it | verdict |", "|---" * 4 + "|"]
    theory = []
    for row in rows:
        if not row["results"]:
            theory.append(row["family"])
            continue
        ratios = {m: _ratio(r) for m, r in row["results"].items()}
        said = ", ".join(f"{m} {_times(ratio)}" for m, ratio in ratios.items())
        lines.append(f"| {row['family']} | {row['models']} | {said} | {_verdict(row['results'])} |")
    lines += ["", f"On theory and their papers alone rest: {', '.join(theory)}."] if theory else []
    return "\n".join(lines) + "\n"


def _ratio(result: Mapping[str, list[float]]) -> float:
    return statistics.fmean(result["without"]) - statistics.fmean(result["with"])


def _times(ratio: float) -> str:
    return f"× {math.exp(ratio):.2f}" if math.isfinite(ratio) else "diverges"


def _verdict(results: Mapping[str, Mapping[str, list[float]]]) -> str:
    """Say whether losses are higher without a rule, over models or, of one or two, over seeds."""
    ratios = [_ratio(result) for result in results.values()]
    if any(math.isinf(ratio) for ratio in ratios):
        return "supported" if max(ratios) == math.inf else "contradicted"
    if len(ratios) > 2:
        chance = ttest_1samp(ratios, 0.0).pvalue
    else:
        pairs = [(r["without"], r["with"]) for r in results.values()]
        chance = max(ttest_ind(*pair, equal_var=False).pvalue for pair in pairs)
    if not chance < LEVEL:
        return "within noise"
    if len(ratios) == 2 and min(ratios) < 0 < max(ratios):
        return "models disagree"
    return "supported" if statistics.fmean(ratios) > 0 else "contradicted"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rules", nargs="*")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.rules) - set(RULES):
        parser.error(f"no rule is called {', '.join(sorted(unknown))}: {', '.join(RULES)}")
    rules = options.rules or list(RULES)
    settle()
    plans()  # once, and not in each process
    rows = sweep(ablate, rules, options.jobs, "rules", limit_s=LIMIT_S, rows=options.rows)
    text = document(rows)
    if options.rules or options.no_docs:
        print(text)
        return
    place(PAGE, "worth", text)


if __name__ == "__main__":
    main()
