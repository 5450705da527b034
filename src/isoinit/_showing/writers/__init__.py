"""What a run's numbers are written to: TensorBoard, Weights & Biases and MLflow.

Each is a module of three names: `WHAT` (in words), `fits` (whether a writer has the methods that it
calls), and `write` (a `Shot` at a step). A new one is a module here, and a line in `find`. `shot` says
what is written. None of the three packages is imported before its own writer is there.
"""

from isoinit._showing.writers.find import can_write, write
from isoinit._showing.writers.shot import Shot

__all__ = ["Shot", "can_write", "write"]
