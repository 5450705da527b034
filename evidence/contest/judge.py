"""What the losses of a contest say: who is ahead, ranks, how near to the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evidence.contest.protocol import LEVEL, NEAR
from evidence.contest.race import logged
from evidence.contest.rivals import PLAN
from scipy.stats import rankdata, ttest_ind

JUDGED = ("training", "held out")


@dataclass(frozen=True)
class Judged:
    """One model, by one kind of loss.

    Attributes:
        name: the model.
        logs: the log losses of each contestant; none of one that failed.
        means: the mean of each; infinite for those.
        ahead: the rivals that are ahead of the plan by more than noise.
        out: the contestants that left the race after one run.
    """

    name: str
    logs: Mapping[str, Sequence[float]]
    means: Mapping[str, float]
    ahead: tuple[str, ...]
    out: frozenset[str]

    @property
    def best(self) -> str:
        """The contestant of the least mean."""
        return min(self.means, key=lambda method: self.means[method])

    @property
    def ranks(self) -> dict[str, float]:
        """The rank of each contestant; equals share theirs."""
        return dict(zip(self.means, map(float, rankdata(list(self.means.values()))), strict=True))

    def behind(self, method: str) -> float:
        """How many times the best loss a contestant's is."""
        return math.exp(self.means[method] - self.means[self.best])


def judge(row: Mapping[str, Any], kind: str) -> Judged:
    """Judge one model's row by one kind of loss."""
    results, floor = row["results"], row["floor"]
    found = {m: results[r["same"]] if "same" in r else r for m, r in results.items()}
    logs = {m: [logged(x, floor) for x in r.get(kind, [])] for m, r in found.items()}
    means = {m: statistics.fmean(x) if x else math.inf for m, x in logs.items()}
    out = frozenset(m for m, r in found.items() if r.get("out", True))
    rivals = {m: logs[m] for m in logs if m not in out and "same" not in results[m] and m != PLAN}
    return Judged(row["family"], logs, means, ahead(logs[PLAN], rivals), out)


def ahead(plan: Sequence[float], rivals: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Return the rivals whose losses are lower by more than noise: Welch's t, Holm's correction."""
    if not all(map(math.isfinite, plan)):
        return tuple(m for m, logs in rivals.items() if all(map(math.isfinite, logs)))
    chances = {}
    for method, logs in rivals.items():
        finite = all(map(math.isfinite, logs)) and list(logs) != list(plan)
        test = ttest_ind(plan, logs, equal_var=False, alternative="greater") if finite else None
        chances[method] = float(test.pvalue) if test is not None else 1.0
    found = []
    for place, method in enumerate(sorted(chances, key=lambda m: chances[m])):
        if chances[method] >= LEVEL / (len(chances) - place):
            break
        found.append(method)
    return tuple(found)


@dataclass(frozen=True)
class Score:
    """A contestant over all models: its mean rank, and on what share it is near the best."""

    rank: float
    near: float


def scores(judged: Iterable[Judged]) -> dict[str, Score]:
    """Return each contestant's score, the best mean rank first."""
    models = list(judged)
    found = {
        method: Score(
            statistics.fmean(model.ranks[method] for model in models),
            statistics.fmean(model.behind(method) <= NEAR for model in models),
        )
        for method in models[0].means
    }
    return dict(sorted(found.items(), key=lambda item: item[1].rank))
