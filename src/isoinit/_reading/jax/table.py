"""Which reader reads which primitive.

To read another primitive, add it here, and its reader to the file of its family. A reader is given the
recorder and the equation; it returns what the outputs of the equation hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from isoinit._reading.jax import (
    convolutions,
    lookups,
    moves,
    pointwise,
    products,
    reductions,
    selects,
)
from isoinit._reading.jax.elementwise import SAME
from isoinit._reading.jax.numerics import ELEMENTWISE

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation
    from isoinit._reading.jax.held import Held
    from isoinit._reading.jax.recorder import Recorder

Reader = Callable[["Recorder", "Equation"], "list[Held]"]

REARRANGED = "reshape transpose broadcast_in_dim squeeze expand_dims rev".split()
REDUCED = (
    """reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or argmax argmin""".split()
)
ALONG = "cumsum cumprod cummax cummin cumlogsumexp sort top_k".split()
WRITTEN = """dynamic_update_slice scatter scatter-add scatter_add scatter-mul scatter_mul scatter-max
    scatter-min scatter_max scatter_min""".split()

READERS: dict[str, Reader] = {
    **dict.fromkeys(sorted(ELEMENTWISE), pointwise.pointwise),
    "mul": pointwise.product,
    "div": pointwise.quotient,
    **dict.fromkeys(("add", "add_any", "sub"), pointwise.sum_of),
    **dict.fromkeys(("max", "min"), pointwise.extreme),
    "select_n": selects.select,
    "convert_element_type": pointwise.cast,
    "stop_gradient": pointwise.detach,
    **dict.fromkeys(sorted(SAME), pointwise.same),
    **dict.fromkeys(REARRANGED, moves.rearranged),
    "slice": moves.part,
    "split": moves.split,
    "unstack": moves.unstacked,
    "concatenate": moves.side_by_side,
    "stack": moves.stacked,
    "pad": moves.padded,
    **dict.fromkeys(("reduce_window_max", "reduce_window_sum"), moves.pooled),
    **dict.fromkeys(REDUCED, reductions.reduced),
    **dict.fromkeys(ALONG, reductions.along),
    **dict.fromkeys(WRITTEN, moves.written),
    "dot_general": products.product,
    "conv_general_dilated": convolutions.convolved,
    "gather": lookups.gathered,
    "dynamic_slice": lookups.sliced,
}
