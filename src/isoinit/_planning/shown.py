"""What is said of an entry of a plan: in a table, and in full."""

from __future__ import annotations

import math
import re
import textwrap

from isoinit._planning.rules import RULES
from isoinit._writing.entry import Entry


def explained(entry: Entry) -> str:
    """The whole chain of one choice."""
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
        "gets": f"{entry.initializer or 'left as it was'}{std}",
        "by rule": f'"{rule.name}": {rule.when}' if rule else "",
        "formula": rule.formula if rule else "",
        "where": ", ".join(f"{what} = {number:.4g}" for what, number in numbers.items()),
        "because": why(entry),
        "signal": f"root mean square {signal} (for a standardized input)" if after else "",
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


def why(entry: Entry) -> str:
    """The reason of a choice, and its source."""
    # Calibration gives each entry a factor of its own, which would give each a line of its own.
    reason = re.sub(r"(calibrated on a batch): ×[^;]+", r"\1", entry.reason)
    return f"{reason} ({entry.source})" if entry.source else reason


def cells(entry: Entry) -> tuple[str, ...]:
    """Shape, initializer, standard deviation and role, as a table shows them."""
    shape = "×".join(map(str, entry.shape)) or "scalar"
    kept = entry.initializer is None
    initializer = "left as it was" if kept else str(entry.initializer).removesuffix("()")
    std = "" if entry.std is None else f"{entry.std:.4g}"
    return shape, initializer, std, entry.role
