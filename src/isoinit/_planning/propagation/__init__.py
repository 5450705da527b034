"""The size of the signal through a graph, worked out before anything is drawn.

`walk` (operation by operation, and the table of routes), `context` (what a walk carries), one file a
kind of operation (`weights`, `norms`, `recurrent`, `attention`, `places`, `pointwise`), `inputs` (what
the example is where it arrives), `order`, and `samples`. `Signal`, `propagate` and `hardly_meant`
may be imported from here.
"""

from isoinit._planning.propagation.inputs import hardly_meant
from isoinit._planning.propagation.samples import Signal
from isoinit._planning.propagation.walk import propagate

__all__ = ["Signal", "hardly_meant", "propagate"]
