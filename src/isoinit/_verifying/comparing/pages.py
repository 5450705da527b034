"""A comparison as a page: the same charts for all methods, and a switch for each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isoinit._showing.page import Chart, Curve, Page, Remark, Table, remarks
from isoinit._verifying.comparing.results import Compared

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
    names = max(([layer.name for layer in h.layers] for _, h in checked), key=len, default=[])
    forward = [Curve(c.method, h.forward) for c, h in checked]
    backward = [Curve(c.method, h.backward) for c, h in checked]
    losses = [_curve(c) for c in methods if c.runs]
    charts = [
        Chart("Forward", "layer", "differences between examples", forward, names),
        Chart("Backward", "layer", "rms of gradients", backward, names),
    ]
    if losses:
        charts.append(Chart("Training", "step", "loss: median over seeds, and range", losses))
    return Page(
        f"Initializations of {model} compared",
        "complete" if complete else "interrupted",
        facts,
        [remark for c in methods for remark in _remarks(c)],
        charts,
        [Table("Methods", COLUMNS, [_row(c) for c in methods])],
        [c.method for c in methods],
    )


def _curve(compared: Compared) -> Curve:
    curve = compared.curve()
    return Curve(
        compared.method,
        [spread.median for spread in curve],
        [spread.low for spread in curve],
        [spread.high for spread in curve],
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
