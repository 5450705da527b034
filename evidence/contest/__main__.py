"""Runs the contest, two models at a time, and writes its sections of docs/evidence.md.

    python -m evidence.contest [SET ...] [MODEL ...] [--rows FOLDER] [--jobs 2] [--publish]

The sets are development, fresh and second; all of them where none is named.
With --rows, an interrupted contest goes on where it stopped, a file a set: remove these to begin anew,
as after a change of a rule. The section of the development set is written. A fresh set's is that of
its first run, so that what comes out later is printed, unless it is to be published. With names of
models these alone are run, and what comes out is printed.
"""

from __future__ import annotations

import argparse
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from evidence.claims.claim import settle
from evidence.contest.race import race
from evidence.contest.report import TITLES, document
from evidence.contest.task import Task
from evidence.page import DOCS, place
from evidence.sweep import sweep

PAGE = DOCS / "evidence.md"
REMARKS = Path(__file__).parent / "remarks"
LIMIT_S = 1800


def tasks(name: str) -> dict[str, Task]:
    """Return the models of a set."""
    found: dict[str, Task] = import_module(f"evidence.contest.{name}").TASKS
    return found


def run(name: str, models: list[str], jobs: int, rows: Path | None) -> list[dict[str, Any]]:
    """Return what came of the models of a set, some at a time."""
    known = tasks(name)

    def look(model: str) -> dict[str, Any]:
        settle()
        warnings.simplefilter("ignore")
        return race(model, known[model])

    return sweep(
        look,
        models,
        jobs,
        f"{name} set",
        limit_s=LIMIT_S,
        rows=rows / f"{name}.jsonl" if rows else None,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SET or MODEL")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--publish", action="store_true", help="also the sections of fresh sets")
    options = parser.parse_args()
    if options.rows:
        options.rows.mkdir(parents=True, exist_ok=True)
    sets = [name for name in options.names if name in TITLES] or list(TITLES)
    models = [name for name in options.names if name not in TITLES]
    if unknown := set(models) - {model for name in sets for model in tasks(name)}:
        parser.error(f"no model is called {', '.join(sorted(unknown))}")
    for name in sets:
        chosen = [model for model in tasks(name) if not models or model in models]
        if not chosen:
            continue
        found = run(name, chosen, options.jobs, options.rows)
        remarks = REMARKS / f"{name}.md"
        said = remarks.read_text(encoding="utf-8") if remarks.exists() else ""
        section = document(name, found, said)
        if not models and (options.publish or name == "development"):
            place(PAGE, f"contest {name}", section)
        else:
            print(section)


if __name__ == "__main__":
    main()
