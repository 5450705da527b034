"""Lists what plans keep of known models, each with the reason, and writes docs/kept.md.

    python -m evidence.kept [NAME ...] [--jobs 2] [--json FILE] [--no-docs]

Planned are the hand-written networks of the tests, the models of docs/signal.md and a small model of
each architecture family of `transformers`, as their constructors leave them. What is kept must be
right to keep, and what a rule decides over must have a reason: both are listed, for anybody to judge.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from evidence.page import DOCS, write
from evidence.sweep import sweep, words

ROOT = Path(__file__).parents[2]
PAGE = DOCS / "kept.md"
HEAD = """# What plans keep

A plan keeps some values that a constructor gave. This page lists them for known models, with the
reason. It is made by `python -m evidence.kept`; do not edit. A star in a name stands for all layers
with the same result. A frozen parameter is always kept. "Own" values have a meaning: they are not
random, and not neutral for the parameter's role. [How a plan decides](decisions/kept.md).
"""


def look(name: str) -> dict[str, Any]:
    """What the plan of one model keeps."""
    warnings.simplefilter("ignore")
    import torch

    import isoinit

    torch.set_num_threads(1)
    torch.manual_seed(0)
    kind, _, case = name.partition(": ")
    try:
        model, batch = _built(kind, case)
    except Exception as error:  # another model's failure, whatever it is, is what we note
        return {"model": name, "runs": False, "why": words(error)}
    plan = isoinit.plan(model, batch)
    rows: dict[tuple[str, str, str], int] = Counter()
    over: dict[tuple[str, str, str], int] = Counter()
    for entry in plan:
        if entry.kept:
            rows[_folded(entry.name), entry.role, _plain(entry.reason)] += 1
        elif "its constructor gives it" in entry.reason:
            had = entry.reason.rpartition("its constructor gives it ")[2]
            over[_folded(entry.name), entry.rule, _plain(had)] += 1
    return {
        "model": name,
        "runs": True,
        "parameters": len(plan),
        "kinds": Counter(entry.kept for entry in plan if entry.kept),
        "kept": [[*row, count] for row, count in rows.items()],
        "over": [[*row, count] for row, count in over.items()],
    }


def _built(kind: str, case: str) -> tuple[Any, Any]:
    """A model, and an example for it."""
    if kind == "transformers":
        from evidence.families import configs
        from evidence.families.batches import fitting

        model, config = configs.build(case, configs.small)
        return model, fitting(copy.deepcopy(model), config)
    if kind == "signal":
        from evidence.signal.models import MODELS

        build, make = MODELS[case]
        return build(), make()
    sys.path.insert(0, str(ROOT / "tests"))
    from zoo.models import ZOO

    build, batch, _ = ZOO[case]
    return build(), batch


def _folded(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "*", name)


def _plain(reason: str) -> str:
    """A reason without the numbers that differ from layer to layer."""
    random = re.sub(r"of mean \S+ and std \S+", "", reason)
    return re.sub(r"(?<=[\w]\.)\d+(?=\.)", "*", random).strip()


def names() -> list[str]:
    """All models, by kind and name."""
    sys.path.insert(0, str(ROOT / "tests"))
    from evidence.families import configs
    from evidence.signal.models import MODELS

    from zoo.models import ZOO

    return [
        *(f"by hand: {name}" for name in ZOO),
        *(f"signal: {name}" for name in MODELS),
        *(f"transformers: {family}" for family in configs.families()),
    ]


def document(found: list[dict[str, Any]]) -> str:
    """The page as Markdown."""
    planned = [r for r in found if r.get("runs")]
    failed = [r for r in found if "failed" in r]
    total = sum(r["parameters"] for r in planned)
    kinds = sum((Counter(r["kinds"]) for r in planned), Counter())
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    lines = [
        HEAD,
        f"- {len(planned)} models, {total:,} parameters; {sum(kinds.values()):,} are kept ({said}), "
        "the others planned.",
        f"- {sum(bool(r['kept']) for r in planned)} models have parameters that are kept.",
        f"- {len(failed)} models could not be planned.",
        "",
        "| model | parameters | kept | role | of them | why |",
        "|---|---|---|---|---|---|",
    ]
    for r in planned:
        for place, (name, role, reason, count) in enumerate(r["kept"]):
            head = f"{r['model']} | {r['parameters']}" if not place else " | "
            lines.append(
                f"| {head} | `{name}` | {role} | {count} | {reason.removeprefix('kept: ')} |"
            )
    lines += [
        "",
        "## Where a rule decides over the constructor",
        "",
        "| model | parameter | rule | of them | its constructor gives it |",
        "|---|---|---|---|---|",
    ]
    for r in planned:
        for name, rule, had, count in r["over"]:
            lines.append(f"| {r['model']} | `{name}` | {rule} | {count} | {had} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    found = sweep(look, options.names or names(), options.jobs, "planning")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    text = document(found)
    if options.names or options.no_docs:
        print(text)
    else:
        write(PAGE, text)


if __name__ == "__main__":
    main()
