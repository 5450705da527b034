"""Audits a small model of each architecture family of `transformers`, and writes docs/audits.md.

    python -m evidence.audits [FAMILY ...] [--jobs 2] [--json FILE] [--no-docs]

Each is built on the meta device, given poisoned memory, and initialized by its own `init_weights`:
what `from_pretrained` does for every tensor that a checkpoint lacks.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evidence.page import DOCS, write
from evidence.sweep import sweep, words

PAGE = DOCS / "audits.md"
LARGEST = 100_000_000  # parameters, of which five copies are made


def audit_family(family: str) -> dict[str, Any]:
    """What an audit finds of one family, and what `from_pretrained` makes of it."""
    warnings.simplefilter("ignore")
    import torch
    import transformers as hf
    from evidence.audits.loading import left_empty
    from evidence.families import configs

    import isoinit

    hf.logging.set_verbosity_error()
    torch.set_num_threads(1)
    facts: dict[str, Any] = {"family": family, "class": configs.model_class(family)}
    why = ""
    for reduce in (configs.small, configs.shallow):
        try:
            with torch.device("meta"):
                model, _ = configs.build(family, reduce)
            size = sum(p.numel() for p in model.parameters())
            if size > LARGEST:
                raise MemoryError(f"{size:,} parameters")
            start = time.perf_counter()
            found = isoinit.audit(lambda reduce=reduce: configs.build(family, reduce)[0])
            seconds = round(time.perf_counter() - start, 2)
        except Exception as error:  # mostly a config that does not build; the page lists all
            why = why or words(error)
            continue
        names = [n for f in found.findings if f.name == "never written" for n in f.where]
        return facts | {
            "seconds": seconds,
            "tensors": len(found.tensors),
            "findings": [asdict(finding) for finding in found.findings],
            "left_empty": left_empty(configs.build(family, reduce)[0], names) if names else [],
        }
    return facts | {"why": why}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    from evidence.audits.table import document
    from evidence.families import configs

    results = sweep(audit_family, options.families or configs.families(), options.jobs, "auditing")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    text = document(results)
    if options.families or options.no_docs:
        print(text)
    else:
        write(PAGE, text)


if __name__ == "__main__":
    main()
