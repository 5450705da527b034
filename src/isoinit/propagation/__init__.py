"""The size of the signal through a graph, worked out before anything is drawn."""

from isoinit.propagation.samples import Signal
from isoinit.propagation.walk import propagate

__all__ = ["Signal", "propagate"]
