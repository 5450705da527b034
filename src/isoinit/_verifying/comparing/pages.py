"""A comparison as a page: the same charts for all methods, and a switch for each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isoinit._showing.page import Chart, Curve, Page, Remark, Table, alike, by_kind, remarks
from isoinit._verifying.comparing.results import Compared
from isoinit._version import __version__

ORDER = "layer, in order of execution"
COLUMNS = (
    "method",
    "check",
    "loss at the start",
    "at the end, median",
    "lowest",
    "highest",
    "ms a step",
    "MiB a step",
    "ms to initialize",
)


def comparison_page(
    model: str, methods: Sequence[Compared], facts: Sequence[tuple[str, str]], *, complete: bool
) -> Page:
    """Return what came of each method, as a page.

    Args:
        model: the model's class.
        methods: what came of each.
        facts: names and values, such as the seeds.
        complete: whether all trainings ran.
    """
    checked = [(c, c.health) for c in methods if c.health is not None]
    longest = max((h for _, h in checked), key=lambda h: len(h.layers), default=None)
    layers = [] if longest is None else [layer.name for layer in longest.layers]
    like = {} if longest is None else longest.kinds
    kinds = alike(layers, [like.get(name, "") for name in layers])
    forward = [x for c, h in checked for x in by_kind(kinds, _padded(h.forward, layers), c.method)]
    backward = [
        x for c, h in checked for x in by_kind(kinds, _padded(h.backward, layers), c.method)
    ]
    losses = [_curve(c) for c in methods if c.runs]
    charts = [
        Chart("Forward", ORDER, "std over examples", forward, layers),
        Chart("Backward", ORDER, "rms of the gradient", backward, layers),
    ]
    if losses:
        band = "lowest to highest of the seeds"
        charts.append(Chart("Training", "step", "loss, median of the seeds", losses, band=band))
    return Page(
        f"Initializations of {model} compared",
        "complete" if complete else "interrupted",
        complete,
        [*facts, ("isoinit", __version__)],
        [remark for c in methods for remark in _remarks(c)],
        charts=charts,
        tables=[Table("Methods", COLUMNS, [_row(c) for c in methods], main=("check", COLUMNS[3]))],
        methods=[c.method for c in methods],
    )


def _padded(values: Sequence[float | None], names: Sequence[str]) -> list[float | None]:
    """One value for each name; a method whose check broke off has fewer."""
    return [*values, *[None] * (len(names) - len(values))]


def _curve(compared: Compared) -> Curve:
    curve = compared.curve()
    return Curve(
        "",
        [spread.median for spread in curve],
        [spread.low for spread in curve],
        [spread.high for spread in curve],
        group=compared.method,
    )


def _remarks(compared: Compared) -> list[Remark]:
    """What a check found of a method; that it failed."""
    method = compared.method
    if compared.error:
        return [Remark("error", compared.error, "this method cannot initialize it", method=method)]
    findings = [] if compared.health is None else compared.health.findings
    return remarks(findings, method)


def _row(compared: Compared) -> tuple[str | float | None, ...]:
    curve, final, step = compared.curve(), compared.final, compared.step_seconds
    fill = compared.fill_seconds
    return (
        compared.method,
        compared.verdict,
        curve[0].median if curve else None,
        *(final or (None, None, None)),
        None if step is None else 1e3 * step,
        compared.bytes / 2**20 if compared.bytes else None,
        None if math.isnan(fill) else 1e3 * fill,
    )
