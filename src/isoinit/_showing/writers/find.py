"""Which of the writers an object is, by the methods that it has."""

from __future__ import annotations

from typing import Any

from isoinit._showing.writers import mlflow, tensorboard, wandb
from isoinit._showing.writers.shot import Shot
from isoinit.errors import ArgumentError

WRITERS = (tensorboard, mlflow, wandb)


def can_write(writer: Any) -> bool:
    """Return whether `write` takes this writer."""
    return any(kind.fits(writer) for kind in WRITERS)


def write(writer: Any, shot: Shot, step: int, run_id: str | None = None) -> None:
    """Write a check.

    Args:
        writer: of one of `WRITERS`.
        shot: what to write.
        step: of the training; 0 is its start.
        run_id: the run, for a writer that serves several.

    Raises:
        ArgumentError: for another writer, or a client of MLflow without `run_id`.
    """
    for kind in WRITERS:
        if kind.fits(writer):
            kind.write(writer, shot, step, run_id)
            return
    known = ", ".join(kind.WHAT for kind in WRITERS)
    raise ArgumentError(f"writer is a {type(writer).__name__}; expected one of: {known}")
