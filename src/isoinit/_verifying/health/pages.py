"""A check as a page: lines through depth, every layer, every parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isoinit._reading.figures import figure
from isoinit._reading.outline import Outline
from isoinit._showing.findings import SEVERITIES, Verdict
from isoinit._showing.page import (
    Chart,
    Density,
    Figure,
    Page,
    Table,
    alike,
    by_kind,
    folds,
    remarks,
)
from isoinit._verifying.health.records import (
    LayerHealth,
    WeightHealth,
    backward_signal,
    forward_signal,
    known,
)
from isoinit._version import __version__

Row = tuple[str | float | None, ...]
LAYER = "output rms, expected, std over examples, alike, rank, dead, saturated, gradient rms"
WEIGHT = "mean, std, planned std, largest, rank, twins, gradient rms, first step"
CAPTION = "Coloured by how much each layer's output differs between examples"
ORDER = "layer, in order of execution"
EXPECTED, MEASURED = "expected", "measured"


def health_page(
    verdict: Verdict,
    layers: Sequence[LayerHealth],
    weights: Sequence[WeightHealth],
    like: Mapping[str, str],
    outline: Outline | None,
    facts: Sequence[tuple[str, str]],
) -> Page:
    """Return what a check measured and found, as a page.

    Args:
        verdict: the findings.
        layers: in the order in which they ran.
        weights: every parameter.
        like: of which kind each layer is, by name.
        outline: of the model; None where it is not known.
        facts: names and values for its head.
    """
    severities = _severities(verdict)
    return Page(
        f"Check of {outline.model}" if outline else f"Check of {len(layers)} layers",
        "healthy" if verdict.ok else "unhealthy",
        verdict.ok,
        [
            ("layers", str(len(layers))),
            ("parameters", f"{len(weights):,}"),
            *([("elements", f"{outline.elements:,}")] if outline else []),
            *facts,
            ("isoinit", __version__),
        ],
        remarks(verdict.findings),
        figure=_figure(layers, outline) if outline else None,
        charts=_charts(layers, like),
        tables=[_layer_table(layers, like, severities), _weight_table(weights, like, severities)],
    )


def _severities(verdict: Verdict) -> dict[str, str]:
    """The severity of the worst finding about each name."""
    found: dict[str, str] = {}
    for severity in reversed(SEVERITIES):
        for finding in verdict.findings:
            if finding.severity == severity:
                found.update(dict.fromkeys(finding.where, severity))
    return found


def _figure(layers: Sequence[LayerHealth], outline: Outline) -> Figure:
    """The model, coloured by the signal that was measured."""
    signal = dict(zip([layer.name for layer in layers], forward_signal(layers), strict=True))
    told = {
        "expected": {layer.name: layer.expected for layer in layers},
        "rms": {layer.name: known(layer.rms) for layer in layers},
    }
    return figure(outline, CAPTION, signal, told)


def _charts(layers: Sequence[LayerHealth], like: Mapping[str, str]) -> list[Chart]:
    """The signal by depth, forward and backward, and how much alike examples become."""
    names = [layer.name for layer in layers]
    groups = alike(names, [like.get(name, "") for name in names])
    expected = by_kind(groups, [layer.expected for layer in layers], EXPECTED)
    measured = [known(layer.rms) for layer in layers]
    outputs = [*expected, *by_kind(groups, measured, MEASURED if expected else "")]
    apart, back = forward_signal(layers), backward_signal(layers)
    correlation = [known(layer.correlation) for layer in layers]
    charts = [
        Chart("Signal", ORDER, "rms of the output", outputs, names),
        Chart("Gradient", ORDER, "rms of the gradient", by_kind(groups, back), names),
        Chart("Examples apart", ORDER, "std over examples", by_kind(groups, apart), names),
    ]
    if any(value is not None for value in correlation):
        curves = by_kind(groups, correlation)
        charts.append(
            Chart("Examples alike", ORDER, "correlation of two", curves, names, log=False)
        )
    return charts if layers else []


def _layer_table(
    layers: Sequence[LayerHealth], like: Mapping[str, str], severities: Mapping[str, str]
) -> Table:
    """Every layer, in the order in which they ran."""
    rows: list[Row] = [
        (
            *(x.name, x.rms, x.expected, x.spread, x.correlation),
            *(x.rank, x.dead, x.saturated, x.gradient),
            severities.get(x.name, severities.get(f"{x.name}.weight", "ok")),
        )
        for x in layers
    ]
    columns, rows = _measured(("layer", *LAYER.split(", "), "verdict"), rows)
    kinds = alike([x.name for x in layers], [like.get(x.name, "") for x in layers])
    main = ("output rms", "verdict")
    return Table(
        "Layers",
        columns,
        rows,
        ("verdict",),
        folds=folds(kinds, rows),
        main=main,
        compared=("output rms", "gradient rms", "verdict"),
    )


def _weight_table(
    weights: Sequence[WeightHealth], like: Mapping[str, str], severities: Mapping[str, str]
) -> Table:
    """Every parameter, with the histogram of its values."""
    rows: list[Row] = [
        (
            *(x.name, x.mean, x.std, planned.std if (planned := _planned(x)) else None),
            *(x.largest, x.rank, x.twins, x.gradient, x.update),
            severities.get(x.name, severities.get(x.name.removesuffix(".weight"), "ok")),
        )
        for x in weights
    ]
    columns, rows = _measured(("parameter", *WEIGHT.split(", "), "verdict"), rows)
    kinds = alike(
        [x.name for x in weights], [like.get(x.name.removesuffix(".weight"), "") for x in weights]
    )
    return Table(
        "Parameters",
        columns,
        rows,
        ("verdict",),
        [weight.histogram for weight in weights],
        folds=folds(kinds, rows),
        main=("std", "verdict"),
        compared=("std", "gradient rms", "verdict"),
    )


def _planned(weight: WeightHealth) -> Density | None:
    return None if weight.histogram is None else weight.histogram.planned


def _measured(columns: Sequence[str], rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """The columns that hold something, and the rows in them."""
    rows = [tuple(map(known, row)) for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return [columns[i] for i in kept], [tuple(row[i] for i in kept) for row in rows]
