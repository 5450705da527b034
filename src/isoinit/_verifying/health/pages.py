"""A check as a page: curves through depth, every layer, every parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from isoinit._showing.page import Chart, Curve, Page, Table, remarks

if TYPE_CHECKING:
    from isoinit._verifying.health.checks import Health

T = TypeVar("T")
Row = tuple[str | float | None, ...]
LAYER = "output rms, expected, spread, alike, rank, dead, saturated, gradient rms".split(", ")
WEIGHT = "mean, std, largest, rank, twins, gradient rms, first step".split(", ")


def health_page(health: Health) -> Page:
    """What a check measured and found."""
    layers, names = health.layers, [layer.name for layer in health.layers]
    forward = [Curve("differences between examples", health.forward)]
    forward += [Curve("output rms", [layer.rms for layer in layers])]
    if any(layer.expected is not None for layer in layers):
        forward.append(Curve("expected rms", [layer.expected for layer in layers]))
    charts = [
        Chart("Forward", "layer", "size of outputs", forward, names),
        Chart("Backward", "layer", "rms of gradients", [Curve("gradient", health.backward)], names),
    ]
    alike = Curve("alike", [layer.correlation for layer in layers])
    if any(x == x for x in alike.values):
        charts.append(
            Chart(
                "Examples alike", "layer", "correlation of two examples", [alike], names, log=False
            )
        )
    facts = [("layers", str(len(layers))), ("parameters", f"{len(health.weights):,}")]
    if health.loss is not None:
        chance = "" if health.chance is None else f" (chance: {health.chance:.4g})"
        facts.append(("loss", f"{health.loss:.4g}{chance}"))
    return Page(
        f"Check: the signal through {len(layers)} layers",
        "healthy" if health.ok else "unhealthy",
        facts,
        remarks(health.findings),
        charts if layers else [],
        [layer_table(health), weight_table(health)],
    )


def layer_table(health: Health) -> Table:
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
        for x in health.layers
    ]
    return Table("Layers", *measured(("layer", *LAYER), rows))


def weight_table(health: Health) -> Table:
    """Every parameter, with the histogram of its values."""
    rows = [
        (x.name, x.mean, x.std, x.largest, x.rank, x.twins, x.gradient, x.update)
        for x in health.weights
    ]
    return Table(
        "Parameters",
        *measured(("parameter", *WEIGHT), rows),
        histograms=[weight.histogram for weight in health.weights],
    )


def measured(columns: Sequence[str], rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """The columns that hold something, and the rows in them."""
    rows = [tuple(map(known, row)) for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return [columns[i] for i in kept], [tuple(row[i] for i in kept) for row in rows]


def known(value: T) -> T | None:
    """What was measured; None for what was not, which is NaN."""
    return None if value != value else value
