"""A check as a page: curves through depth, every layer, every parameter."""

from __future__ import annotations

from collections.abc import Sequence

from isoinit._showing.findings import Verdict
from isoinit._showing.page import Chart, Curve, Page, Table, remarks
from isoinit._verifying.health.records import (
    LayerHealth,
    WeightHealth,
    backward_signal,
    forward_signal,
    known,
)

Row = tuple[str | float | None, ...]
LAYER = "output rms, expected, spread, alike, rank, dead, saturated, gradient rms".split(", ")
WEIGHT = "mean, std, largest, rank, twins, gradient rms, first step".split(", ")


def health_page(
    verdict: Verdict,
    layers: Sequence[LayerHealth],
    weights: Sequence[WeightHealth],
    loss: float | None,
    chance: float | None,
) -> Page:
    """Return what a check measured and found, as a page.

    Args:
        verdict: the findings.
        layers: in the order in which they ran.
        weights: every parameter.
        loss: the loss at the start, if there was one.
        chance: that of a model that knows nothing, if it is known.
    """
    facts = [("layers", str(len(layers))), ("parameters", f"{len(weights):,}")]
    if loss is not None:
        level = "" if chance is None else f" (chance: {chance:.4g})"
        facts.append(("loss", f"{loss:.4g}{level}"))
    return Page(
        f"Check: the signal through {len(layers)} layers",
        "healthy" if verdict.ok else "unhealthy",
        facts,
        remarks(verdict.findings),
        _charts(layers) if layers else [],
        [_layer_table(layers), _weight_table(weights)],
    )


def _charts(layers: Sequence[LayerHealth]) -> list[Chart]:
    """The signal by depth, forward and backward, and how much alike examples become."""
    names = [layer.name for layer in layers]
    outputs = [
        Curve("differences between examples", forward_signal(layers)),
        Curve("output rms", [layer.rms for layer in layers]),
    ]
    if any(layer.expected is not None for layer in layers):
        outputs.append(Curve("expected rms", [layer.expected for layer in layers]))
    gradients = [Curve("gradient", backward_signal(layers))]
    charts = [
        Chart("Forward", "layer", "size of outputs", outputs, names),
        Chart("Backward", "layer", "rms of gradients", gradients, names),
    ]
    alike = Curve("alike", [layer.correlation for layer in layers])
    if any(known(x) is not None for x in alike.values):
        what = "correlation of two examples"
        charts.append(Chart("Examples alike", "layer", what, [alike], names, log=False))
    return charts


def _layer_table(layers: Sequence[LayerHealth]) -> Table:
    """Every layer, in the order in which they ran."""
    rows = [
        (
            x.name,
            x.rms,
            x.expected,
            x.spread,
            x.correlation,
            x.rank,
            x.dead,
            x.saturated,
            x.gradient,
        )
        for x in layers
    ]
    return Table("Layers", *_measured(("layer", *LAYER), rows))


def _weight_table(weights: Sequence[WeightHealth]) -> Table:
    """Every parameter, with the histogram of its values."""
    rows = [
        (x.name, x.mean, x.std, x.largest, x.rank, x.twins, x.gradient, x.update) for x in weights
    ]
    return Table(
        "Parameters",
        *_measured(("parameter", *WEIGHT), rows),
        histograms=[weight.histogram for weight in weights],
    )


def _measured(columns: Sequence[str], rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """The columns that hold something, and the rows in them."""
    rows = [tuple(map(known, row)) for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return [columns[i] for i in kept], [tuple(row[i] for i in kept) for row in rows]
