"""The size of the signal through a graph, worked out before anything is drawn."""

from isoinit._planning.propagation.samples import Signal
from isoinit._planning.propagation.walk import propagate

__all__ = ["Signal", "propagate"]
