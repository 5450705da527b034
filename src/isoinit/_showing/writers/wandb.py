"""Weights & Biases: numbers, a table with a line chart for each of its columns, and the page."""

from __future__ import annotations

from typing import Any

from isoinit._showing.writers.shot import Shot

WHAT = "a run of wandb"


def fits(writer: Any) -> bool:
    """Return whether it has what is called here; the module `wandb` has it inside a run."""
    return callable(getattr(writer, "log", None)) and hasattr(writer, "define_metric")


def write(writer: Any, shot: Shot, step: int, _run_id: str | None) -> None:
    """Write a check to a run, all at one step: `isoinit/errors`, `isoinit/layers` and so on."""
    import wandb  # the writer came from it

    findings = [[finding.severity, str(finding)] for finding in shot.findings]
    told: dict[str, Any] = {
        **shot.numbers(),
        "findings": wandb.Table(columns=["severity", "finding"], data=findings),
        "layers": wandb.Table(columns=["depth", "layer", *shot.columns()], data=shot.rows()),
        "page": wandb.Html(shot.page(), data_is_not_path=True),
    }
    for name, points in shot.curves().items():
        table = wandb.Table(columns=["depth", name], data=[list(point) for point in points])
        told[f"by depth/{name}"] = wandb.plot.line(table, "depth", name, title=f"{name} by depth")
    writer.log({f"isoinit/{name}": value for name, value in told.items()}, step=step)
