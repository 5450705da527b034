"""Runs the claims, two at a time, and writes docs/evidence.md.

    python -m evidence.claims [CLAIM ...] [--no-docs]

With names of claims, their sections alone are written anew.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from evidence.claims.claim import Claim, Found, markdown, settle

DOCS = Path(__file__).parents[2] / "docs" / "evidence.md"
# In the order of the page.
CLAIMS = "zero random xavier he lecun orthogonal memory sparse variational choice".split()
# The longest first, so that both processes end at about the same time.
LONGEST = "choice orthogonal memory he variational sparse xavier".split()


def run(name: str) -> tuple[str, str, bool]:
    """One claim, in a process of its own: its section of the page, and whether all of it holds."""
    settle()
    claim: Claim = importlib.import_module(f"evidence.claims.{name}").CLAIM
    start = time.perf_counter()
    found: list[Found]
    found, remark = claim.run()
    section = markdown(claim, found, remark, time.perf_counter() - start)
    return name, section, all(f.holds for f in found)


def write(sections: dict[str, str]) -> None:
    """Put sections into the page, in place of those of the same claims."""
    text = DOCS.read_text(encoding="utf-8")
    for name, section in sections.items():
        block = f"<!-- {name} -->\n{section}<!-- end of {name} -->"
        place = re.compile(f"<!-- {name} -->.*?<!-- end of {name} -->", re.DOTALL)
        text = place.sub(lambda _, block=block: block, text)
    DOCS.write_text(text, encoding="utf-8")


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
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, name) for name in order]):
            name, section, holds = future.result()
            sections[name] = section
            print(
                section, "" if holds else f"{name}: a part does not hold", "", sep="\n", flush=True
            )
    print(f"{len(sections)} claims in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    if not arguments.no_docs:
        write(sections)


if __name__ == "__main__":
    main()
