"""A coordinate check as a page: the change of each kind of layer by width, and every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isoinit._showing.findings import Verdict
from isoinit._showing.folding import Kind as Folded
from isoinit._showing.page import Chart, Curve, Page, Table, folds, remarks
from isoinit._verifying.coordinates.moves import BOUNDED, Kind
from isoinit._verifying.coordinates.table import NO_PROOF
from isoinit._version import __version__


def coordinates_page(
    title: str,
    verdict: Verdict,
    kinds: Sequence[Kind],
    widths: Sequence[int],
    steps: int,
    facts: Sequence[tuple[str, str]],
) -> Page:
    """Return a coordinate check as a page.

    Args:
        title: what was checked.
        verdict: the findings.
        kinds: the layers by kind.
        widths: of the models.
        steps: how many were taken.
        facts: names and values, such as the seeds.
    """
    firm = [kind for kind in kinds if kind.kind not in BOUNDED]
    loose = [kind for kind in kinds if kind.kind in BOUNDED]
    charts = [
        _chart(f"{what} after step {step}", group, widths, step)
        for step in dict.fromkeys((steps, 1))
        for what, group in (("Layers", firm), ("Scores and outputs", loose))
        if group
    ]
    return Page(
        title,
        "even" if verdict.ok else "uneven",
        verdict.ok,
        [*facts, ("isoinit", __version__)],
        remarks(verdict.findings),
        charts=charts,
        tables=[_table(kinds, widths, steps)],
        notes=[NO_PROOF],
    )


def _chart(title: str, kinds: Sequence[Kind], widths: Sequence[int], step: int) -> Chart:
    """The change of some kinds by width; a band shows layers and seeds."""
    curves = [
        Curve(kind.name, kind.by_width(step), kind.range_at(step, min), kind.range_at(step, max))
        for kind in kinds
    ]
    return Chart(
        title,
        "width",
        "rms of the change",
        curves,
        [str(width) for width in widths],
        band="lowest to highest of its layers and seeds",
    )


def _table(kinds: Sequence[Kind], widths: Sequence[int], steps: int) -> Table:
    """Every layer: its slopes, and its change at each width."""
    columns = ["layer", "kind", *(f"slope, step {step + 1}" for step in range(steps))]
    columns += [f"change at {width}" for width in widths]
    rows = [
        (
            layer.name,
            layer.kind,
            *(_known(layer.slope(step + 1)) for step in range(steps)),
            *map(_known, layer.by_width(steps)),
        )
        for kind in kinds
        for layer in kind.layers
    ]
    places = iter(range(len(rows)))
    groups = [Folded(k.name, [next(places) for _ in k.layers]) for k in kinds]
    return Table(
        "Layers",
        columns,
        rows,
        ("kind",),
        folds=folds(groups, rows),
        main=(f"slope, step {steps}",),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
