"""What every run gave, one line each in `runs.jsonl`: the page shows the last ones side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import commit, machine, packages, today
from benchmarks.timing import Row

FOLDER = Path(__file__).parent
FILE = FOLDER / "runs.jsonl"


@dataclass(frozen=True)
class Run:
    """One run of one topic.

    Attributes:
        topic: its name, and the number of threads where that is set.
        date: the day, in UTC.
        commit: what ran; "+" behind it where files differed from it.
        machine: the processor and its cores.
        packages: versions.
        load: the load average over one minute before and after.
        rows: what was measured.
    """

    topic: str
    date: str
    commit: str
    machine: str
    packages: str
    load: tuple[float, float]
    rows: tuple[Row, ...]


def recorded(file: Path = FILE) -> dict[str, list[Run]]:
    """Return all runs by topic, the newest last."""
    found: dict[str, list[Run]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        told = json.loads(line)
        rows = tuple(Row(**row) for row in told.pop("rows"))
        run = Run(**told | {"load": tuple(told["load"]), "rows": rows})
        found.setdefault(run.topic, []).append(run)
    return found


def record(runs: Iterable[Run], file: Path = FILE) -> None:
    """Add runs to the file."""
    with file.open("a", encoding="utf-8") as lines:
        for run in runs:
            lines.write(json.dumps(asdict(run), ensure_ascii=False) + "\n")


def now(topic: str, rows: Iterable[Row], before: float) -> Run:
    """Return a run that has just ended."""
    return Run(topic, today(), commit(), machine(), packages(), (before, load()), tuple(rows))


def load() -> float:
    """Return the load average over one minute; NaN where the system tells none."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else float("nan")
