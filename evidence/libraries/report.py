"""The page: a row for each library, then what was found, model by model."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any

from evidence.libraries.training import FALL, MOST, STEPS, learns
from evidence.libraries.verdicts import verdict

Row = dict[str, Any]
STAGES = {"own": "its library", "planned": "the plan"}
FAILED = ("own_error", "plan_error", "planned_error")

HEAD = """# Whole libraries, checked and planned

Do `isoinit.check` and `isoinit.plan` work on the models of public libraries? This page is made by
`make libraries`; do not edit. Each model is checked as its library initializes it, then planned,
initialized by the plan and checked again. This is done in training mode, on a few random inputs, with
one thread. Each step may take {limit} seconds of processor time. A model whose own forward fails on
these inputs is listed at the end and not counted.

The models of these libraries are known to train, so an error of a check may be a false alarm. To
decide this, each model with an error is trained: {steps} steps of AdamW on the same inputs toward
fixed noise of unit size (a flow: on its likelihood), at two learning rates, without weight decay.
"Trains" means that at one of them the loss fell below {fall:.0%} of its initial value, and at
least {most:.0%} of the parameters with a gradient changed. "Moved" is this percentage, the
smaller of the two. Then we read the code of each model with an error
([verdicts](../evidence/libraries/verdicts.py)).
"""


def document(found: list[Row], limit: int) -> str:
    """The page as Markdown.

    Args:
        found: a row for each model, as `look` makes it.
        limit: the seconds that a step may take.
    """
    rows = [_complete(row) for row in found]
    ran = [row for row in rows if row["runs"]]
    lines = [
        HEAD.format(limit=limit, steps=STEPS, fall=FALL, most=MOST),
        *_summary(rows, ran),
        "",
        "| library | version | models | own: errors | of them train | plans failed | plans with "
        "warnings | planned: errors | of them train | layers | far off | seconds to plan, median |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_of_library(library, ran) for library in dict.fromkeys(r["library"] for r in ran)),
        *_section("Errors", ERRORS, _errors(ran)),
        *_section("Errors, by hand", "| model | the error is | since |", _by_hand(ran)),
        *_section("Where the measured size is far from the expected", OFF, _off(ran)),
        *_section("Steps that failed or took too long", "| model | step | why |", _failed(ran)),
        *_section("Models that did not run", "| model | why |", _not_run(rows)),
    ]
    return "\n".join(lines) + "\n"


ERRORS = (
    "| model | initialized by | errors | trains | loss at the first rate | at the second | moved |"
)
OFF = "| model | layers | far off | the worst | expected | measured |"


def _complete(row: Row) -> Row:
    """A row of a model whose process ended or was stopped, like the others."""
    library, _, name = row["family"].partition(": ")
    row = {"library": library, "name": name, "runs": False, "trains": {}} | row
    return row | {"why": row["failed"]} if "failed" in row else row


def _section(title: str, head: str, rows: Iterator[str]) -> list[str]:
    lines = list(rows) or ["None."]
    table = [head, "|---" * (head.count("|") - 1) + "|"] if lines != ["None."] else []
    return ["", f"## {title}", "", *table, *lines]


def _summary(rows: list[Row], ran: list[Row]) -> Iterator[str]:
    count = len({row["library"] for row in ran})
    yield f"- {len(ran)} models of {count} libraries; {len(rows) - len(ran)} more did not run."
    for stage, by in STAGES.items():
        checked, wrong, training = _counts(ran, stage)
        yield (
            f"- Initialized by {by}: {wrong} of {checked} models have an error; "
            f"{training} of them train, of {_untold(ran, stage)} it is not known. "
            f"By hand {_false(ran, stage)} of {checked} are false "
            f"({_false(ran, stage) / max(checked, 1):.1%})."
        )
    yield f"- Plans that failed: {sum('plan_error' in row for row in ran)}."
    known = sum(row.get("expected", 0) for row in ran)
    off = sum(len(row.get("off", ())) for row in ran)
    yield (
        f"- Of {known:,} layers with an expected size, {known - off:,} "
        f"({1 - off / max(known, 1):.1%}) are measured within a factor of two of it."
    )


def _counts(rows: list[Row], stage: str) -> tuple[int, int, int]:
    """The models checked at a stage, those with an error, and of those the ones that train."""
    wrong = [row for row in rows if errors(row, stage)]
    training = sum(learns(row["trains"].get(stage, "")) for row in wrong)
    return sum(stage in row for row in rows), len(wrong), training


def _false(rows: list[Row], stage: str) -> int:
    """The models whose errors are false, or that nobody looked at."""
    judged = [verdict(row["family"]) for row in rows if errors(row, stage)]
    return sum(found is None or not found[0] for found in judged)


def _by_hand(ran: list[Row]) -> Iterator[str]:
    for row in ran:
        if errors(row, "own") or errors(row, "planned"):
            right, why = verdict(row["family"]) or (False, "nobody looked")
            yield f"| {row['family']} | {'right' if right else '**false**'} | {why} |"


def _untold(rows: list[Row], stage: str) -> int:
    """The models with an error whose training did not run, or took too long."""
    return sum(
        bool(errors(row, stage)) and not isinstance(row["trains"].get(stage), list) for row in rows
    )


def errors(row: Row, stage: str) -> list[str]:
    """The names of the errors that a check found, each once."""
    return list(dict.fromkeys(name for name, kind, _ in row.get(stage, ()) if kind == "error"))


def _of_library(library: str, ran: list[Row]) -> str:
    rows = [row for row in ran if row["library"] == library]
    _, own, own_trains = _counts(rows, "own")
    _, planned, planned_train = _counts(rows, "planned")
    times = sorted(row["plan_s"] for row in rows if "plan_s" in row)
    cells = (
        library,
        _version(library),
        len(rows),
        own,
        own_trains,
        sum("plan_error" in row for row in rows),
        sum(bool(row.get("warnings")) for row in rows),
        planned,
        planned_train,
        sum(row.get("expected", 0) for row in rows),
        sum(len(row.get("off", ())) for row in rows),
        f"{times[len(times) // 2]:.1f}" if times else "",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _errors(ran: list[Row]) -> Iterator[str]:
    for row in ran:
        for stage, by in STAGES.items():
            if names := errors(row, stage):
                trained = training(row["trains"].get(stage))
                yield f"| {row['family']} | {by} | {', '.join(names)} | {trained} |"


def training(found: Any) -> str:
    """The cells of a training: whether it trains, the loss at each rate, the share that moved."""
    if not isinstance(found, list):
        return f"not known: {_cell(found)} | | | "
    losses = [f"{_loss(run['start'])} → {_loss(run['end'])}" for run in found]
    moved = min(run["moved"] for run in found)
    return f"{'yes' if learns(found) else '**no**'} | {' | '.join(losses)} | {moved:.0%}"


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _off(ran: list[Row]) -> Iterator[str]:
    for row in ran:
        if off := row.get("off"):
            name, expected, measured = off[0]
            yield (
                f"| {row['family']} | {row['expected']} | {len(off)} | `{name}` | {expected:.3g} | "
                f"{measured:.3g} |"
            )


def _failed(ran: list[Row]) -> Iterator[str]:
    for row in ran:
        for name in FAILED:
            if name in row:
                yield f"| {row['family']} | {name.removesuffix('_error')} | {_cell(row[name])} |"


def _not_run(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        if not row["runs"]:
            yield f"| {row['family']} | {_cell(row.get('why'))} |"


def _cell(text: Any) -> str:
    """A text as it stands in a table: on one line, without what Markdown would read."""
    plain = " ".join(str(text).split()).replace("|", "/").replace("<", "‹").replace("*", "∗")
    return plain[:200]
