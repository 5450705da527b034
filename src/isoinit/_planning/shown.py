"""How a plan looks: a table, a page, and one entry in full."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

from isoinit._planning.rules import RULES
from isoinit._showing.findings import listed
from isoinit._showing.folding import headed, kinds, ranged, together
from isoinit._showing.table import Cells, render
from isoinit._showing.terminal import Printed
from isoinit._writing.entry import Entry
from isoinit.errors import escaped

Beside: TypeAlias = "dict[str, dict[str, float | None]]"

ROWS = 24  # of a folded table: more do not fit a screen


def table(
    title: str,
    entries: Mapping[str, Entry],
    beside: Beside,
    notes: Sequence[str],
    warnings: Sequence[str],
    verbose: bool,
) -> Printed:
    """Return a plan as a table for the terminal, its reasons numbered below.

    Args:
        title: above it.
        entries: the plan's.
        beside: further standard deviations, by column and parameter.
        notes: what is said of these.
        warnings: what is doubtful.
        verbose: whether every parameter gets a row.
    """
    roles: dict[str, list[str]] = {}
    for entry in entries.values():
        roles.setdefault(why(entry), []).append(entry.role)
    numbers = {reason: str(n) for n, reason in enumerate(roles, start=1)}
    columns = ("parameter", "shape", "initializer", "std", *beside, "role", "why")
    if verbose:
        rows = [
            (name, *cells(e), *_stds([e], beside), e.role, numbers[why(e)])
            for name, e in entries.items()
        ]
        reasons = [f"{number} {reason}" for reason, number in numbers.items()]
        return render(title, columns, rows, [*reasons, *notes], warnings)
    found = kinds(entries.values(), lambda e: e.name, lambda e: (e.shape, *kind_of(e)))
    if len(found) > ROWS:  # then shapes fold, too
        found = kinds(entries.values(), lambda e: e.name, kind_of)
    wide = headed([(k.name, len(k.items), _row(k.items, beside, numbers)) for k in found])
    # The role, which stands beside the reason, too, is the first to go in a narrow terminal.
    narrower = [_without(gone, columns, wide) for gone in (("role",), ("role", "shape"))]
    reasons = [
        f"{numbers[reason]} {listed(list(dict.fromkeys(said)))}: {reason}"
        for reason, said in roles.items()
    ]
    return render(title, columns, wide, [*reasons, *notes], warnings, narrower=narrower)


def _without(
    gone: Collection[str], columns: Sequence[str], rows: Sequence[tuple[str, ...]]
) -> Cells:
    """A table without some of its columns."""
    left = [i for i, column in enumerate(columns) if column not in gone]
    return [columns[i] for i in left], [tuple(row[i] for i in left) for row in rows]


def kind_of(entry: Entry) -> tuple[object, ...]:
    """What agrees in one row."""
    return (
        len(entry.shape),
        entry.shape[2:],
        type(entry.initializer),
        entry.kept,
        entry.role,
        why(entry),
    )


def _row(alike: Sequence[Entry], beside: Beside, numbers: Mapping[str, str]) -> tuple[str, ...]:
    """The cells of parameters of one kind, behind their name."""
    shapes, initializers = zip(*map(cells, alike), strict=True)
    initializer = initializers[0]
    if any(entry.initializer != alike[0].initializer for entry in alike) or alike[0].std:
        initializer = initializer.partition("(")[
            0
        ]  # the column of the standard deviation has the rest
    return (
        together(shapes),
        initializer,
        *_stds(alike, beside),
        alike[0].role,
        numbers[why(alike[0])],
    )


def _stds(alike: Sequence[Entry], beside: Beside) -> Iterator[str]:
    """The standard deviations of parameters of one kind: planned, and beside."""
    yield ranged([entry.std for entry in alike], middle=False, digits=3)
    for stds in beside.values():
        yield ranged([stds.get(entry.name) for entry in alike], middle=False)


def explained(entry: Entry) -> str:
    """Return the whole chain of one choice as text."""
    shape = "×".join(map(str, entry.shape)) or "one number"
    rule = next((rule for rule in RULES if rule.name == entry.rule), None)
    std = "" if entry.std is None else f", standard deviation {entry.std:.4g}"
    numbers = dict(entry.numbers)
    before = f"{math.sqrt(numbers['E[x²]']):.3g} before" if "E[x²]" in numbers else ""
    after = "" if entry.target is None else f"{entry.target:.3g} after"
    signal = ", ".join(part for part in (before, after) if part)
    rows = {
        "input": entry.fed,
        "output": entry.feeds,
        "gets": f"{entry.initializer or _left(entry)}{std}",
        "by rule": f'"{rule.name}": {rule.when}' if rule else "",
        "formula": rule.formula if rule else "",
        "where": ", ".join(f"{what} = {number:.4g}" for what, number in numbers.items()),
        "because": why(entry),
        "signal": f"root mean square {signal} (for a standardized input)" if after else "",
        "gradient": _gradient(entry),
        "close": ", ".join(f'"{name}"' for name in entry.close),
        "transfer": _transferred(entry),
    }
    lines = [f"{entry.name}: {entry.role}, {entry.dtype} of {shape}"]
    for what, text in rows.items():
        lines += textwrap.wrap(
            text,
            80,
            initial_indent=f"  {what:<9}",
            subsequent_indent=" " * 11,
            break_long_words=False,
        )
    return "\n".join(map(escaped, lines))


def _left(entry: Entry) -> str:
    return "kept" if entry.kept else "left as it was"


def _transferred(entry: Entry) -> str:
    if (f := entry.factors) is None:
        return ""
    numbers = f"std ×{f.std:.4g}, lr ×{f.lr:.4g}, decay ×{f.decay:.4g}, ε ×{f.eps:.4g}"
    return f"{f.kind}: {numbers} ({f.optimizer}); {f.reason}" + (f" ({f.source})" * bool(f.source))


def _gradient(entry: Entry) -> str:
    if entry.expected_gradient is None:
        return ""
    size = f"{entry.expected_gradient:.3g} expected" if entry.expected_gradient else "none comes"
    return f"root mean square {size} (for 1 at the model's output)"


def why(entry: Entry) -> str:
    """Return the reason of a choice and its source."""
    # Calibration gives each entry a factor of its own, which would give each a line of its own.
    reason = re.sub(r"(calibrated on a batch): ×[^;]+", r"\1", entry.reason)
    return f"{reason} ({entry.source})" if entry.source else reason


def cells(entry: Entry) -> tuple[str, str]:
    """Return shape and initializer as a table shows them."""
    shape = "×".join(map(str, entry.shape)) or "scalar"
    return shape, str(entry.initializer or _left(entry)).removesuffix("()")
