"""The size of the gradient through a graph: the adjoint of the walk that finds the signal.

`walk` (operation by operation, from the outputs back, and the table of routes), `gradient` (what
stands for a gradient), one file a kind of operation (`weights`, `norms`, `attention`, `places`,
`pointwise`). `Gradient` and `propagate_back` may be imported from here.
"""

from isoinit._planning.propagation.backward.gradient import Gradient
from isoinit._planning.propagation.backward.walk import propagate_back

__all__ = ["Gradient", "propagate_back"]
