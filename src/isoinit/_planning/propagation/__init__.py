"""The size of the signal through a graph, worked out before anything is drawn.

`walk` (operation by operation, and the table of routes), `context` (what a walk carries), one file a
kind of operation (`weights`, `norms`, `recurrent`, `attention`, `places`, `pointwise`, `tables`),
`inputs` (what the example is where it arrives), `order`, `samples`, `lost` (why a signal is not known)
and `moments` (what was measured where it is lost). Import the names below from here.
"""

from isoinit._planning.propagation.inputs import hardly_meant, unusual
from isoinit._planning.propagation.moments import Measured, Moments, Walk
from isoinit._planning.propagation.samples import Signal
from isoinit._planning.propagation.walk import propagate, walking

__all__ = [
    "Measured",
    "Moments",
    "Signal",
    "Walk",
    "hardly_meant",
    "propagate",
    "unusual",
    "walking",
]
