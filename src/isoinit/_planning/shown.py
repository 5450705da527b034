"""How a plan looks: a table, a page, and one entry in full."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence

from isoinit._planning.rules import RULES
from isoinit._showing.page import Chart, Curve, Page, Remark, Table
from isoinit._showing.table import fold, render
from isoinit._writing.entry import Entry

READ = {  # what `how` says, in words
    "fake": "its own forward, on fake tensors",
    "real": "its own forward, on the example",
    "structure": "its modules",
}


def table(entries: Mapping[str, Entry], method: str, warnings: Sequence[str]) -> str:
    """Return a plan as a table for the terminal, its reasons numbered below."""
    said = {name: why(entry) for name, entry in entries.items()}
    reasons = {reason: str(n) for n, reason in enumerate(dict.fromkeys(said.values()), start=1)}
    return render(
        f"plan of {len(entries)} parameters, method {method!r}",
        ("parameter", "shape", "initializer", "std", "role", "why"),
        fold([(name, *cells(entry), reasons[said[name]]) for name, entry in entries.items()]),
        notes=[f"{number} {reason}" for reason, number in reasons.items()],
        warnings=warnings,
    )


def page(entries: Mapping[str, Entry], method: str, how: str, warnings: Sequence[str]) -> Page:
    """Return a plan as the facts of an HTML page."""
    filters = ("initializer", "role", "rule", "dtype")
    columns = (
        "parameter, shape, initializer, std, role, expected, expected gradient, reason, source"
    )
    columns += ", rule, dtype"
    rows = [
        (
            *(e.name, *cells(e)[:2], e.std, e.role, e.expected, e.expected_gradient),
            *(e.reason, e.source, e.rule, e.dtype),
        )
        for e in entries.values()
    ]
    layers = [entry for entry in entries.values() if entry.expected is not None]
    names = [entry.name for entry in layers]
    signal = Curve("expected", [entry.expected for entry in layers])
    gradient = Curve("expected", [entry.expected_gradient for entry in layers])
    charts = [
        Chart("Signal expected", "layer", "rms of the output", [signal], names),
        Chart("Gradient expected", "layer", "rms, 1 at the model's output", [gradient], names),
    ]
    return Page(
        f"Plan of {len(entries)} parameters",
        facts=[
            ("method", method),
            ("read from", READ[how]),
            ("elements", f"{sum(math.prod(e.shape) for e in entries.values()):,}"),
        ],
        remarks=[Remark("warning", warning) for warning in warnings],
        charts=charts if layers else [],
        tables=[Table("Parameters", columns.split(", "), rows, filters)],
    )


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
        "is fed": entry.fed,
        "feeds": entry.feeds,
        "gets": f"{entry.initializer or _left(entry)}{std}",
        "by rule": f'"{rule.name}": {rule.when}' if rule else "",
        "formula": rule.formula if rule else "",
        "where": ", ".join(f"{what} = {number:.4g}" for what, number in numbers.items()),
        "because": why(entry),
        "signal": f"root mean square {signal} (for a standardized input)" if after else "",
        "gradient": _gradient(entry),
        "close": ", ".join(f'"{name}"' for name in entry.close),
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
    return "\n".join(lines)


def _left(entry: Entry) -> str:
    return "kept" if entry.kept else "left as it was"


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


def cells(entry: Entry) -> tuple[str, ...]:
    """Return shape, initializer, standard deviation and role as a table shows them."""
    shape = "×".join(map(str, entry.shape)) or "scalar"
    initializer = str(entry.initializer or _left(entry)).removesuffix("()")
    std = "" if entry.std is None else f"{entry.std:.4g}"
    return shape, initializer, std, entry.role
