"""Findings and layers in TensorBoard: curves through depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from isoinit._showing.findings import Finding
from isoinit.errors import escaped


def log(writer: Any, findings: Sequence[Finding], layers: Sequence[Any], step: int = 0) -> None:
    """Write what a check found to TensorBoard.

    - `isoinit/errors`, `isoinit/warnings`: how many, at the step;
    - `isoinit/findings`, `isoinit/layers`: the findings and the numbered layers, as text;
    - `isoinit at step N/rms` and so on: a curve for each number that a layer has, against depth. One
      chart shows a whole network, where a chart a layer would be hundreds.

    Args:
        writer: a `SummaryWriter`, or anything with its `add_scalar` and `add_text`.
        findings: errors and warnings.
        layers: dataclasses with a `name`, in the order in which they ran.
        step: of the training; 0 is its start.
    """
    for severity in ("error", "warning"):
        count = sum(finding.severity == severity for finding in findings)
        writer.add_scalar(f"isoinit/{severity}s", count, step)
    said = "\n".join(f"- {finding}" for finding in findings) or "healthy"
    writer.add_text("isoinit/findings", said, step)
    rows = "".join(f"| {depth} | `{escaped(layer.name)}` |\n" for depth, layer in enumerate(layers))
    writer.add_text("isoinit/layers", f"| depth | layer |\n|---|---|\n{rows}", step)
    for depth, layer in enumerate(layers):
        for name, number in _numbers(layer):
            writer.add_scalar(f"isoinit at step {step}/{name}", number, depth)


def _numbers(layer: Any) -> list[tuple[str, float]]:
    """What was measured of a layer; `value` says which value of the graph it was."""
    found = [(field.name, getattr(layer, field.name)) for field in fields(layer)]
    return [(name, x) for name, x in found if isinstance(x, (int, float)) and name != "value"]
