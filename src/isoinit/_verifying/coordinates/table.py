"""How a coordinate check looks in the terminal: one row a kind of layer, or one a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isoinit._showing.findings import SEVERITIES, Finding
from isoinit._showing.folding import bounds, headed, short, spread
from isoinit._showing.sparkline import sparkline
from isoinit._showing.table import Cells, render
from isoinit._showing.terminal import Printed
from isoinit._verifying.coordinates.moves import Kind

BARS = 8  # of a curve by width
LEGEND = {
    "moved": "moved: rms of the change of the output, at the least and the largest width, bars by "
    "width",
    "slope": "slope: of log moved by log width; flat is 0",
    "layers": "layers: the least and the largest slope of one",
}
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
    warnings = [str(f) for s in SEVERITIES[:-1] for f in findings if f.severity == s]
    remarks = [str(f) for f in findings if f.severity == SEVERITIES[-1]]
    notes = [NO_PROOF] * (not warnings)
    if uncompared:
        names = ", ".join(uncompared[:3])
        more = f" and {len(uncompared) - 3} more" if len(uncompared) > 3 else ""
        notes.append(f"not compared, as not all models have it in one shape: {names}{more}")
    widest, *narrower = [
        _cells(kinds, steps, first=True, layers=True),
        _cells(kinds, steps, first=False, layers=True),
        _cells(kinds, steps, first=False, layers=False),
    ]
    return render(title, *widest, notes, warnings, remarks, narrower, LEGEND)


def _cells(kinds: Sequence[Kind], steps: int, *, first: bool, layers: bool) -> Cells:
    """The columns and rows, with the slope after the first step and those of single layers, or not."""
    first, layers = first and steps > 1, layers and any(len(kind.layers) > 1 for kind in kinds)
    columns = ["layer", "kind", "moved", *["at step 1"] * first, "slope", *["layers"] * layers]
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
