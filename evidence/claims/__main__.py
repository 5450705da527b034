"""Runs the claims, two at a time, and writes docs/evidence.md.

    python -m evidence.claims [CLAIM ...] [--no-docs]

With names of claims, their sections alone are written anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from evidence.claims.claim import run
from evidence.page import DOCS, place

PAGE = DOCS / "evidence.md"
# In the order of the page.
CLAIMS = "zero random xavier he lecun orthogonal memory sparse variational".split()
# The longest first, so that both processes end at about the same time.
LONGEST = "orthogonal memory sparse he".split()


def results(names: list[str]) -> Iterator[tuple[str, str, bool]]:
    """What `run` gives of each claim, as soon as it is there."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, name) for name in names]):
            yield future.result()


def main() -> None:
    """Run, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claims", nargs="*", default=CLAIMS, metavar="CLAIM")
    parser.add_argument("--no-docs", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.claims) - set(CLAIMS):
        parser.error(f"no claim is called {', '.join(sorted(unknown))}: {', '.join(CLAIMS)}")
    order = sorted(arguments.claims, key=lambda n: (n not in LONGEST, (*LONGEST, n).index(n)))
    sections, start = {}, time.perf_counter()
    for name, section, holds in results(order):
        sections[name] = section
        print(section, "" if holds else f"{name}: a part does not hold", "", sep="\n", flush=True)
    print(f"{len(sections)} claims in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    if not arguments.no_docs:
        for name, section in sections.items():
            place(PAGE, name, section)


if __name__ == "__main__":
    main()
