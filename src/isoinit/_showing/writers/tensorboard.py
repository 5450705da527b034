"""TensorBoard: curves by depth, and texts. It shows no HTML, so the page is left out."""

from __future__ import annotations

from typing import Any

from isoinit._showing.writers.shot import Shot, numbers_of
from isoinit.errors import escaped

WHAT = "a SummaryWriter"


def fits(writer: Any) -> bool:
    """Return whether it has what is called here."""
    return hasattr(writer, "add_scalar") and hasattr(writer, "add_text")


def write(writer: Any, shot: Shot, step: int, _run_id: str | None) -> None:
    """Write a check to TensorBoard.

    - `isoinit/errors`, `isoinit/warnings`, `isoinit/loss`: at the step;
    - `isoinit/findings`, `isoinit/layers`: the findings and the numbered layers, as text;
    - `isoinit at step N/rms` and so on: a curve for each number that a layer has, against depth. One
      chart shows a whole network, where a chart a layer would be hundreds.
    """
    for name, number in shot.numbers().items():
        writer.add_scalar(f"isoinit/{name}", number, step)
    said = "\n".join(f"- {finding}" for finding in shot.findings) or "healthy"
    writer.add_text("isoinit/findings", said, step)
    rows = "".join(f"| {depth} | `{escaped(x.name)}` |\n" for depth, x in enumerate(shot.layers))
    writer.add_text("isoinit/layers", f"| depth | layer |\n|---|---|\n{rows}", step)
    for depth, layer in enumerate(shot.layers):
        for name, number in numbers_of(layer).items():
            writer.add_scalar(f"isoinit at step {step}/{name}", number, depth)
