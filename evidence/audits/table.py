"""The page that shows what the audits found: a summary, and a row for each finding of a family."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

from evidence.audits.verdicts import VERDICTS

HEAD = """# Audits of `transformers`

Does the initialization of each model in `transformers` {version} write every tensor? This page
shows what `isoinit.audit` finds in a small model of each family. It is made by `python -m
evidence.audits`; the column "by hand" is from `evidence/audits/verdicts.py`. Do not edit.

## How to read it

Each model is built on the meta device, gets memory with marked bytes from `to_empty`, and is
initialized by its own `init_weights`. `from_pretrained` does the same for every tensor that a
checkpoint lacks, and for every buffer that no checkpoint holds
(`_move_missing_keys_from_meta_to_device` and `_initialize_missing_keys` in `modeling_utils.py`). So a
tensor that is "never written" holds uninitialized memory:

- a buffer that is not saved: after every `from_pretrained`;
- a parameter or another buffer: after loading a checkpoint that lacks it (a new head, another base
  model), and if you build on the meta device and call `init_weights` to train from scratch.

Loading a complete checkpoint is not affected by the second kind. To confirm the findings, each such
family is loaded by `from_pretrained` from its own values without the named tensors, while
`torch.empty` gives NaN. The column "loaded" has the number of named tensors that are NaN then.

"By hand" is a verdict from reading the model's source, with the line. Only there a finding is called
a fault. A "latent" fault does not occur in the published configurations.
"""


def document(results: list[dict[str, Any]]) -> str:
    """The page as Markdown."""
    import transformers

    run = [r for r in results if "findings" in r]
    errors = [r for r in run if any(f["severity"] == "error" for f in r["findings"])]
    warned = [r for r in run if r["findings"] and r not in errors]
    seconds = sorted(r["seconds"] for r in run)
    kinds: dict[str, list[str]] = defaultdict(list)
    for r in run:
        for finding in r["findings"]:
            kinds[finding["name"]].append(r["family"])
    unwritten = [f for r in run for f in r["findings"] if f["name"] == "never written"]
    lines = [
        HEAD.format(version=transformers.__version__),
        "## Summary",
        "",
        f"- {len(results)} families, of which {len(run)} could be built small and were audited, "
        f"{sum(r['tensors'] for r in run):,} tensors in all; the median took "
        f"{seconds[len(seconds) // 2] if seconds else 0:.2f} s.",
        f"- {len(run) - len(errors) - len(warned)} without a finding, {len(warned)} with warnings "
        f"alone, {len(errors)} with an error.",
        "",
        "| finding | families | findings |",
        "|---|---|---|",
        *(f"| {k} | {len(set(v))} | {len(v)} |" for k, v in sorted(kinds.items())),
        "",
        "By hand: " + ", ".join(f"{n} {verdict}" for verdict, n in _verdicts(run)) + ". Named as "
        f"never written: {sum(len(f['where']) for f in unwritten)}; unwritten after `from_pretrained` "
        f"without them: {sum(len(r['left_empty']) for r in run)}.",
        "",
        "## Findings",
        "",
        "| family | class | severity | finding | what | loaded | by hand |",
        "|---|---|---|---|---|---|---|",
        *(_row(r, f) for r in run for f in r["findings"]),
        "",
        "## Families that were not audited",
        "",
        "| family | class | why |",
        "|---|---|---|",
        *(
            f"| {r['family']} | {r.get('class')} | {_short(r.get('why') or r.get('failed'))} |"
            for r in results
            if "findings" not in r
        ),
    ]
    return "\n".join(lines) + "\n"


def _row(result: dict[str, Any], finding: dict[str, Any]) -> str:
    what = _short(finding["sentence"])
    empty = set(result["left_empty"]).intersection(finding["where"])
    unwritten = finding["name"] == "never written"
    loaded = f"{len(empty)} of {len(finding['where'])}" if unwritten else ""
    verdict, reason = _by_hand(result["family"], finding)
    cell = f"**{verdict}**: {reason}" if reason else verdict
    return (
        f"| {result['family']} | {result['class']} | {finding['severity']} | {finding['name']} | "
        f"{what} | {loaded} | {cell} |"
    )


def _by_hand(family: str, finding: dict[str, Any]) -> tuple[str, str]:
    """The verdict on a finding: of several rows that fit its names, the first, with all reasons."""
    names = set(finding["where"]) or {""}
    fitting: dict[str, str] = {}
    for families, name, pattern, verdict, reason in VERDICTS:
        meant = name == finding["name"] and (not families or family in families.split())
        if meant and (found := {n for n in names if re.search(pattern, n)}):
            fitting.setdefault(reason, verdict)
            names -= found
    if not fitting:
        return "not looked at", ""
    return next(iter(fitting.values())), "; ".join(fitting)


def _verdicts(run: list[dict[str, Any]]) -> list[tuple[str, int]]:
    found = Counter(_by_hand(r["family"], f)[0] for r in run for f in r["findings"])
    return found.most_common()


def _short(text: Any) -> str:
    """At most 260 characters, which stay one cell of the table."""
    text = " ".join(str(text).split()).replace("|", "/").replace("<", "&lt;").replace("_", "\\_")
    return text if len(text) <= 260 else f"{text[:259]}…"
