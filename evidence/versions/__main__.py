"""Builds environments, calls every verb and runs tests in each, and writes docs/supported.md.

    python -m evidence.versions [NAME ...] [--rows FILE] [--limit SECONDS] [--keep] [--smoke]

NAME is lowest, middle, pinned or newest; by default each that has no row yet. A row is kept as soon
as an environment is done, so that a break loses nothing; an environment is removed before the next.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, today
from evidence.versions import suite, table
from evidence.versions.environments import ENVIRONMENTS, HOME, ROOT, build, remove

SMOKE = Path(__file__).with_name("smoke.py")


def tried(name: str, limit: float, *, tests: bool) -> dict[str, Any]:
    """Return the row of an environment."""
    python = build(name)
    settings = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [python, SMOKE], capture_output=True, text=True, cwd=HOME, env=os.environ | settings
    )
    if done.returncode:
        raise SystemExit(f"{name}: the smoke suite ended with {done.returncode}\n{done.stderr}")
    row = {"name": name, "day": today(), "commit": commit()} | json.loads(
        done.stdout.splitlines()[-1]
    )
    row["smoke seconds"] = round(time.perf_counter() - start, 1)
    print(f"{name}: {_failing(row['faults'])}", flush=True)
    row["suite"] = suite.run(python, limit) if tests else None
    return row


def _failing(faults: dict[str, str]) -> str:
    failing = [f"{verb}: {fault}" for verb, fault in faults.items() if fault]
    return "; ".join(failing) or f"all {len(faults)} verbs work"


def main() -> None:
    """The command line; exits with 1 if a verb does not work somewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all that have no row")
    parser.add_argument("--rows", type=Path, default=HOME / "rows.jsonl")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds for the tests of each")
    parser.add_argument("--keep", action="store_true", help="do not remove the environments")
    parser.add_argument("--smoke", action="store_true", help="run no tests")
    parser.add_argument("--no-docs", action="store_true", help="write no page")
    options = parser.parse_args()
    if unknown := set(options.names) - set(ENVIRONMENTS):
        parser.error(f"no such environment: {', '.join(sorted(unknown))}")
    HOME.mkdir(exist_ok=True)
    known = table.kept(options.rows)
    for name in options.names or [name for name in ENVIRONMENTS if name not in known]:
        row = tried(name, options.limit, tests=not options.smoke)
        with options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if not options.keep:
            remove(name)
    rows = table.kept(options.rows)
    if not options.no_docs:
        table.write(rows)
    digests = {row["bits"] for row in rows.values()}
    broken = [name for name, row in rows.items() if any(row["faults"].values())]
    if broken or len(digests) > 1:
        raise SystemExit(f"not all works in: {', '.join(broken) or 'none'}; bits: {digests}")


if __name__ == "__main__":
    assert ROOT.is_dir()
    main()
