"""The page that shows what was read: a summary, and a row for each family."""

from __future__ import annotations

from collections import Counter
from typing import Any

HEAD = """# Architecture families of `transformers`

Can isoinit read the models of `transformers`? This page shows what it reads of a small model of each
family, in evaluation mode, on one example. It is made by `python -m evidence.families`; do not edit.
A family counts if its model can run an ordinary forward on real tensors. The other families are
listed at the end, with the reason.
"""


def document(results: list[dict[str, Any]]) -> str:
    """The page as Markdown."""
    running = [r for r in results if r["runs"]]
    read = [r for r in running if r["how"] != "not"]
    how = Counter(r["how"] for r in running)
    elements = sum(r["elements"] for r in read)
    unknown = sum(sum(r["unknown"].values()) for r in read)
    missing = sum(len(r["missing"]) for r in read)
    share = 100 * len(read) / max(len(running), 1)
    lines = [
        HEAD,
        f"- {len(results)} families, of which {len(running)} run.",
        f"- Read: {len(read)} of {len(running)} ({share:.1f} %): {how['fake']} on fake tensors, "
        f"{how['real']} on the real example.",
        f"- Parameters without an entry in the plan: {missing}.",
        f"- Elements in parameters with a known role: {100 - 100 * unknown / max(elements, 1):.3f} % "
        f"of {elements:,}.",
        "",
        "| family | class | read on | operations | seconds | parameters | with a role | never used |"
        " of unknown role |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_row, running),
        "",
        "## Families that did not run",
        "",
        "| family | class | why |",
        "|---|---|---|",
        *(
            f"| {r['family']} | {r.get('class')} | {r['why'][:200]} |"
            for r in results
            if not r["runs"]
        ),
    ]
    return "\n".join(lines) + "\n"


def _row(result: dict[str, Any]) -> str:
    start = f"| {result['family']} | {result['class']} | "
    if result["how"] == "not":
        return f"{start}not: {result['why'][:200]} | | | | | | |"
    kind = {"fake": "fake tensors", "real": "the example"}[result["how"]]
    count, unknown = result["parameters"], result["unknown"]
    names = ", ".join(dict.fromkeys(name.rsplit(".", 1)[-1] for name in unknown))
    return (
        f"{start}{kind} | {result['operations']} | {result['seconds']:.2f} | {count} | "
        f"{count - len(unknown)} | {len(result['unused'])} | {names} |"
    )
