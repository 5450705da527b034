"""Runs the trials one after another, prints what was tried and what was lost, and exits with 1 if any.

Run by `make soak`: under ten minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings

from evidence.soak.damaged import checkpoints, headers, plan_files
from evidence.soak.folders import savers, writers
from evidence.soak.interrupts import interrupts
from evidence.soak.threads import threads

# Each with its share of the time. Those that fork come first: their processes have no threads yet.
TRIALS = {
    savers: 0.1,
    writers: 0.2,
    plan_files: 0.1,
    headers: 0.05,
    checkpoints: 0.1,
    interrupts: 0.3,
    threads: 0.15,
}


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"seed {asked.seed}, {asked.minutes:g} minutes", flush=True)
    lost = 0
    for trial, share in TRIALS.items():
        tried = trial(60 * asked.minutes * share, asked.seed)
        lost += tried.lost.total()
        print(f"{tried.rounds:>7} times: {tried.what}; met {tried.met}, lost {tried.lost.total()}")
        for why, count in tried.lost.most_common(10):
            print(f"        {count} × {why}")
        sys.stdout.flush()
    print(f"lost in all: {lost or 'nothing'}")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
