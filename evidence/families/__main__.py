"""Reads a small model of each architecture family of `transformers`, and writes docs/families.md.

    python -m evidence.families [FAMILY ...] [--jobs 2] [--json FILE] [--no-docs]

A family counts if its small model runs an ordinary forward on real tensors. Of those, how many does
isoinit read, how, and how many of their parameters get a role?
"""

from __future__ import annotations

import argparse
import copy
import json
import time
import warnings
from pathlib import Path
from typing import Any

from evidence.page import DOCS, write
from evidence.sweep import sweep, words

PAGE = DOCS / "families.md"


def read_family(family: str) -> dict[str, Any]:
    """What became of one family."""
    warnings.simplefilter("ignore")
    import torch
    import transformers as hf
    from evidence.families import configs
    from evidence.families.batches import fitting

    hf.logging.set_verbosity_error()
    torch.set_num_threads(1)
    facts: dict[str, Any] = {"family": family, "class": configs.model_class(family)}
    why = ""
    for reduce in (configs.small, configs.shallow):
        torch.manual_seed(0)
        try:
            model, config = configs.build(family, reduce)
            batch = fitting(copy.deepcopy(model), config)  # a forward may leave a cache behind
        except Exception as error:  # another model's failure, whatever it is, is what we note
            why = why or words(error)
            continue
        return facts | {"runs": True, "batch": sorted(batch)} | _reading(model, batch)
    return facts | {"runs": False, "why": why}


def _reading(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    import isoinit
    from isoinit._reading.torch import trace
    from isoinit.errors import IsoinitError

    start = time.perf_counter()
    try:
        graph = trace(model, batch)
    except IsoinitError as error:
        return {"how": "not", "why": words(error)}
    seconds = time.perf_counter() - start
    plan = isoinit.plan(model, batch)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    unknown = [entry.name for entry in plan if entry.role == "unknown"]
    missing = [name for name in sizes if name not in plan]
    return {
        "how": graph.how,
        "seconds": round(seconds, 3),
        "operations": len(graph.ops),
        "parameters": len(sizes),
        "elements": sum(sizes.values()),
        "missing": missing,
        "unknown": {name: sizes[name] for name in unknown},
        "unused": [name for name in graph.shapes if not graph.uses_of(name)],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    from evidence.families import configs
    from evidence.families.table import document

    found = sweep(read_family, options.families or configs.families(), options.jobs, "reading")
    # What isoinit itself failed on counts as not read.
    results = [
        r if "failed" not in r else r | {"runs": True, "how": "not", "why": r["failed"]}
        for r in found
    ]
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    text = document(results)
    if options.families or options.no_docs:
        print(text)
    else:
        write(PAGE, text)


if __name__ == "__main__":
    main()
