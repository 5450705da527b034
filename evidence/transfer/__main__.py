"""Measures what tuning small and training large is worth; writes docs/transfer.md.

    python -m evidence.transfer [PART ...] [--rows FILE] [--jobs 2] [--no-docs]

The parts are the sweeps of `settings`, and "checks"; all of them where none is named. With --rows, an
interrupted run goes on where it stopped: remove the file to begin anew. With names of parts these
alone are run, and what comes out is printed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evidence.claims.claim import settle
from evidence.page import DOCS, write
from evidence.sweep import sweep
from evidence.transfer.curves import Curve, Kept
from evidence.transfer.evenness import Slopes
from evidence.transfer.pictures import draw_checks, draw_sweep
from evidence.transfer.report import document
from evidence.transfer.runs import cell
from evidence.transfer.settings import CHECKED, CHECKED_ALSO, CHECKS, OWN, PLAN, SCALED, SWEEPS
from evidence.transfer.slopes import measure

PAGE = DOCS / "transfer.md"
LIMIT_S = 1200
CHECK = "checks"
Rows = Mapping[str, Mapping[str, Any]]


def twin(scheme: str) -> str:
    """Return the scheme that is the same at the base: where nothing grows, a transfer is the plan."""
    return scheme if scheme in (OWN, SCALED) else PLAN


def bases(name: str) -> list[str]:
    """Return the cells of a sweep's base."""
    schemes = dict.fromkeys(map(twin, SWEEPS[name].sizes_of))
    return [f"{name}/{scheme}/{SWEEPS[name].base}" for scheme in schemes]


def others(name: str) -> list[str]:
    """Return the cells of a sweep's larger sizes."""
    planned = SWEEPS[name].sizes_of.items()
    return [f"{name}/{scheme}/{size}" for scheme, sizes in planned for size in sizes]


def checks() -> list[str]:
    """Return the coordinate checks."""
    return [
        f"{CHECK}/{scheme}/{name}"
        for name in CHECKS
        for scheme in (*CHECKED, *CHECKED_ALSO.get(name, ()))
    ]


def work(parts: list[str], jobs: int, rows: Path | None) -> dict[str, dict[str, Any]]:
    """Return the row of every cell: bases first, since what they find best is tried at all sizes."""
    found: dict[str, dict[str, Any]] = {}

    def look(cell_name: str) -> dict[str, Any]:
        settle()
        warnings.simplefilter("ignore")
        part, scheme, size = cell_name.split("/")
        if part == CHECK:
            return {"family": cell_name, **measure(CHECKS[size], scheme)}
        first = found.get(f"{part}/{twin(scheme)}/{SWEEPS[part].base}")
        again = () if first is None else (Curve.read(first["runs"]).best,)
        return {"family": cell_name, **cell(SWEEPS[part], scheme, int(size), again)}

    names = [part for part in parts if part != CHECK]
    first = [one for name in names for one in bases(name)]
    # The largest sizes first, so that no core is left with one at the end.
    rest = sorted(
        (one for name in names for one in others(name)), key=lambda one: -int(one.split("/")[2])
    )
    for cells in (first, [*rest, *(checks() if CHECK in parts else ())]):
        made = sweep(look, cells, jobs, "transfer", limit_s=LIMIT_S, rows=rows)
        failed = [row for row in made if "seconds" not in row]
        if failed:
            said = (f"{row['family']}: {row.get('failed') or row.get('why')}" for row in failed)
            raise SystemExit("no results for " + "; ".join(said))
        found |= {row["family"]: row for row in made}
    return found


def swept(name: str, rows: Rows) -> dict[str, Kept]:
    """Return the curves of a sweep, by scheme."""
    found = {}
    for scheme, sizes in SWEEPS[name].sizes_of.items():
        base = SWEEPS[name].base
        cells = {base: f"{name}/{twin(scheme)}/{base}"}
        cells |= {size: f"{name}/{scheme}/{size}" for size in sizes}
        found[scheme] = Kept({s: Curve.read(rows[one]["runs"]) for s, one in cells.items()})
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    parts = options.parts or [*SWEEPS, CHECK]
    if unknown := set(parts) - {*SWEEPS, CHECK}:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    begin = time.perf_counter()
    rows = work(parts, options.jobs, options.rows)
    losses = {name: swept(name, rows) for name in parts if name != CHECK}
    slopes: dict[str, dict[str, Slopes]] = {}
    for one in checks() if CHECK in parts else ():
        _, scheme, name = one.split("/")
        slopes.setdefault(name, {})[scheme] = Slopes.read(rows[one])
    text = document(losses, slopes, sum(row["seconds"] for row in rows.values()))
    if options.parts or options.no_docs:
        print(text)
    else:
        for name, kept in losses.items():
            draw_sweep(name, SWEEPS[name], kept)
        draw_checks(slopes)
        write(PAGE, text)
    print(f"{(time.perf_counter() - begin) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
