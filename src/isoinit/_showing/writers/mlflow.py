"""MLflow: metrics by step and by depth, and the findings, the table and the page as artifacts."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

from isoinit._showing.writers.shot import Shot
from isoinit.errors import ArgumentError

WHAT = "the module mlflow, or an MlflowClient with run_id"
MOST = 1000  # metrics in one call: mlflow.utils.validation, MAX_METRICS_PER_BATCH


def fits(writer: Any) -> bool:
    """Return whether it has what is called here, or makes a client that does."""
    return hasattr(writer, "log_text") and hasattr(writer, "log_metric")


def write(writer: Any, shot: Shot, step: int, run_id: str | None) -> None:
    """Write a check to a run.

    - `isoinit/errors`, `isoinit/warnings`, `isoinit/loss`: metrics at the step;
    - `isoinit at step N/rms` and so on: a metric for each number that a layer has, against depth;
    - `isoinit/step-N/findings.txt`, `layers.csv` and `check.html`: artifacts.

    Raises:
        ArgumentError: for a client without `run_id`.
    """
    from mlflow.entities import Metric  # the writer came from it

    client = writer
    if hasattr(writer, "MlflowClient"):  # the module: as its own functions, it starts a run
        client = writer.MlflowClient()
        run_id = run_id or (writer.active_run() or writer.start_run()).info.run_id
    if run_id is None:
        raise ArgumentError(
            "an MlflowClient serves any run: pass the one to write to, run_id=run.info.run_id"
        )
    now = int(time.time() * 1000)
    metrics = [Metric(f"isoinit/{name}", x, now, step) for name, x in shot.numbers().items()]
    for name, points in shot.curves().items():
        metrics += [Metric(f"isoinit at step {step}/{name}", x, now, depth) for depth, x in points]
    for first in range(0, len(metrics), MOST):
        client.log_batch(run_id, metrics[first : first + MOST])
    said = "\n".join(map(str, shot.findings)) or "healthy"
    for name, text in {
        "findings.txt": said,
        "layers.csv": _csv(shot),
        "check.html": shot.page(),
    }.items():
        client.log_text(run_id, text, f"isoinit/step-{step}/{name}")


def _csv(shot: Shot) -> str:
    lines = io.StringIO()
    csv.writer(lines).writerows([["depth", "layer", *shot.columns()], *shot.rows()])
    return lines.getvalue()
