"""Reads a small model of each architecture family of `transformers`, and writes docs/families.md.

    python -m evidence.families [FAMILY ...] [--jobs 2] [--json FILE] [--no-docs]

A family counts if its small model runs an ordinary forward on real tensors. Of those, how many does
isoinit read, how, and how many of their parameters get a role?
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

LIMIT_S = 240
DOCS = Path(__file__).parents[2] / "docs" / "families.md"


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
            why = why or _words(error)
            continue
        return facts | {"runs": True, "batch": sorted(batch)} | _reading(model, batch)
    return facts | {"runs": False, "why": why}


def _reading(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    import isoinit
    from isoinit.errors import IsoinitError
    from isoinit.trace import trace

    start = time.perf_counter()
    try:
        graph = trace(model, batch)
    except IsoinitError as error:
        return {"how": "not", "why": _words(error)}
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


def _words(error: Any) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text.replace("|", "/")[:600]


def sweep(families: list[str], jobs: int) -> list[dict[str, Any]]:
    """Each family in a process of its own, some at a time."""
    from rich.progress import track

    def one(family: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "evidence.families", "--one", family]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT_S, env=environment
            )
            return dict(json.loads(done.stdout.strip().splitlines()[-1]))
        except subprocess.TimeoutExpired:
            return {"family": family, "runs": False, "why": f"took more than {LIMIT_S} s"}
        except (ValueError, IndexError):
            return {"family": family, "runs": False, "why": f"crashed: {done.stderr[-300:]}"}

    with ThreadPoolExecutor(jobs) as pool:
        return list(track(pool.map(one, families), "reading", total=len(families)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(read_family(options.one)))
        return
    from evidence.families import configs
    from evidence.families.table import document

    results = sweep(options.families or configs.families(), options.jobs)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    text = document(results)
    if options.families or options.no_docs:
        print(text)
    else:
        DOCS.write_text(text)


if __name__ == "__main__":
    main()
