"""The page of results: each topic's newest run, and what those before it gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.floors import floor_of
from benchmarks.runs import Run
from benchmarks.timing import Row

PREFACE = (
    "Written by `python -m benchmarks`, from `benchmarks/runs.jsonl`, which has one line for each",
    "run of a topic. isoinit and the peer ran in turns in one process (imports: in separate",
    "processes). Times are medians, except for a first call. The machine was not idle, and its load",
    "averages are given: compare ratios, not times. If a ratio is above 1, isoinit takes less time.",
    "Differences of a tenth mean nothing. *Before* has the ratios of the two earlier runs, the",
    "newest first. *Floor* is the lowest ratio that we accept. A ratio below its floor is in",
    "**bold**. Matrix products (Orthogonal) on all cores wait for the slowest thread: with another",
    "process on the machine, both sides sometimes took ten times as long. One forward, `import",
    "torch` and `Tensor.fill_` are references, not competitors.",
)
HEAD = "| case | isoinit, ms | peer | peer, ms | peer / isoinit | before | floor |"
SHOWN = 2  # runs before the newest


def page(titles: Mapping[str, str], runs: Mapping[str, Sequence[Run]]) -> str:
    """Return the page as Markdown.

    Args:
        titles: the title of each topic, in order.
        runs: all runs by topic, the newest last.
    """
    lines = ["# Benchmark results", "", *PREFACE]
    for topic, title in titles.items():
        lines += ["", f"## {title}", ""]
        its = [run for run in runs.get(topic, ()) if run.rows]
        if not its:
            lines.append("Not run: it needs a GPU." if topic == "gpu" else "Not run yet.")
            continue
        newest, *others = reversed(its)
        lines += [facts(newest), "", HEAD, "|---|---:|---|---:|---:|---|---:|"]
        lines += [line(topic.split(",")[0], row, others[:SHOWN]) for row in newest.rows]
    return "\n".join(lines) + "\n"


def facts(run: Run) -> str:
    before, after = run.load
    return f"{run.date}, {run.commit}, {run.machine}; {run.packages}; load {before} to {after}."


def line(topic: str, row: Row, others: Sequence[Run]) -> str:
    case, ours, peer_name, peer, ratio, floor = cells(topic, row)
    least = floor_of(topic, row)
    if least is not None and row.ratio is not None and row.ratio < least:
        ratio = f"**{ratio}**"
    same = [
        old for run in others for old in run.rows if (old.case, old.peer) == (row.case, row.peer)
    ]
    before = ", ".join(map(told, same))
    return "| " + " | ".join((case, ours, peer_name, peer, ratio, before, floor)) + " |"


def cells(topic: str, row: Row) -> tuple[str, str, str, str, str, str]:
    """Return the case, our milliseconds, the peer, its own, the ratio and its floor, as text."""
    case = f"{row.case}: {row.note}" if row.note else row.case
    ours, peer = (
        f"{1e3 * s:.3g}" if s is not None else "refuses" for s in (row.ours_s, row.peer_s)
    )
    least = floor_of(topic, row)
    return case, ours, row.peer, peer, told(row), "" if least is None else f"{least:.3g}"


def told(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:.2f}"
