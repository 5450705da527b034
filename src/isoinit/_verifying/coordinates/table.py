"""How a coordinate check looks in the terminal: one row a kind of layer, or one a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isoinit._showing.findings import SEVERITIES, Finding
from isoinit._showing.folding import bounds, headed, short
from isoinit._showing.sparkline import sparkline
from isoinit._showing.table import Cells, render
from isoinit._showing.terminal import Printed
from isoinit._verifying.coordinates.moves import Kind

BARS = 8  # of a curve by width
MOVED = "moved: rms of the change of the output, at the first and the last width, bars by width"
SLOPE = "slopes of log moved by log width; flat is 0"
LAYERS = "layers: the least and the largest slope of one"
NO_PROOF = "flat slopes are no proof that a learning rate transfers: they show that it may"


def table(
    title: str,
    kinds: Sequence[Kind],
    findings: Sequence[Finding],
    steps: int,
    uncompared: Sequence[str],
) -> Printed:
    """Return a coordinate check as a table for the terminal.

    Args:
        title: the verdict.
        kinds: the rows.
        findings: what was found.
        steps: how many were taken.
        uncompared: the layers that not every model has.
    """
    failing = [f for f in findings if f.severity != SEVERITIES[-1]]
    warnings = [f"{f.severity}: {f.sentence}" for f in failing]
    remarks = [*dict.fromkeys(f.advice for f in failing)]  # mostly one for all
    remarks += [str(f) for f in findings if f.severity == SEVERITIES[-1]]
    notes = [NO_PROOF] * (not failing)
    if uncompared:
        names = ", ".join(uncompared[:3])
        more = f" and {len(uncompared) - 3} more" if len(uncompared) > 3 else ""
        notes.append(f"not compared, as not all models have it in one shape: {names}{more}")
    widest, *narrower = [
        _cells(kinds, steps, first=True, layers=True),
        _cells(kinds, steps, first=False, layers=True),
        _cells(kinds, steps, first=False, layers=False),
    ]
    legend = {"moved": MOVED, f"step {steps}": SLOPE, "layers": LAYERS}
    return render(title, *widest, notes, warnings, remarks, narrower, legend)


def _cells(kinds: Sequence[Kind], steps: int, *, first: bool, layers: bool) -> Cells:
    """The columns and rows, with the slope after the first step and those of single layers, or not."""
    first, layers = first and steps > 1, layers and any(len(kind.layers) > 1 for kind in kinds)
    columns = ["layer", "kind", "moved", *["step 1"] * first, f"step {steps}"]
    columns += ["layers"] * layers
    rows = []
    for kind in kinds:
        slopes = kind.slopes(steps).values()
        cells = [
            kind.kind,
            _moved(kind.by_width(steps)),
            *[_slope(kind.slope(1))] * first,
            _slope(kind.slope(steps)),
            *["…".join(_slope(end(slopes)) for end in (min, max)) if len(slopes) > 1 else ""]
            * layers,
        ]
        rows.append((kind.name, len(kind.layers), tuple(cells)))
    return columns, headed(rows)


def _moved(changes: Sequence[float]) -> str:
    """The change at the least and the largest width, and a curve between."""
    low, high = bounds(changes)
    ends = f"{short(changes[0])}–{short(changes[-1])}"
    return f"{ends} {sparkline(changes, BARS, low=low, high=high)}"


def _slope(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"
