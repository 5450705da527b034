"""Checks and plans the models of whole public libraries, and writes docs/libraries.md.

    python -m evidence.libraries [LIBRARY | "LIBRARY: MODEL" ...] [--jobs 2] [--rows FILE]
        [--json FILE] [--no-docs]

Each model is checked as its library initializes it, planned, initialized by the plan and checked
again, in training mode, on random inputs of the right kind. Where a check finds an error, the model is
trained for a few steps: an error on a model that trains may be a false one. With --rows, an
interrupted run goes on where it stopped; the file is removed once the page is written. Remove it
yourself to begin anew, as after a change of isoinit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from evidence.page import DOCS, write
from evidence.sweep import sweep

PAGE = DOCS / "libraries.md"
LIMIT_S = 600  # a model: two checks, a plan, training twice, each with its own limit


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    from evidence.libraries import catalogue
    from evidence.libraries.look import STAGE_S, look
    from evidence.libraries.report import document

    asked = options.names or list(catalogue.LIBRARIES)
    names = [n for name in asked for n in ([name] if ": " in name else catalogue.names([name]))]
    found = sweep(look, names, options.jobs, "checking", limit_s=LIMIT_S, rows=options.rows)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    text = document(found, STAGE_S)
    if options.names or options.no_docs:
        print(text)
        return
    write(PAGE, text)
    if options.rows:
        options.rows.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
