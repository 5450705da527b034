"""What all weights of the usual variance share, whichever rule gave them that.

**Estimates start small.** What a network says before it is trained is noise, which training takes away
first: under a squared error noise of the size of the targets doubles the loss, and noise of a quarter
of that size adds a sixteenth. So outputs that have the form of an input start at a quarter. Others,
which may be logits, start at one: there noise of that size adds next to nothing, and smaller weights
would send smaller gradients back.

**Few weights are orthogonal.** Rows that are orthogonal tell inputs apart with less chance in it than
independent ones of the same variance: the inner products that a layer keeps scatter less (Yu et al.
2016), and no direction of the input is drawn badly. The narrower the layer, the more that matters; and
where there are few weights it costs no more than to draw them one by one.
"""

from __future__ import annotations

import math

from isoinit._reading.roles import Role
from isoinit.initializers import Initializer, Orthogonal
from isoinit.initializers.base import IndependentInitializer

ESTIMATE = 0.25
FEW = 2**16  # weights of one map that are drawn orthogonal in less than a millisecond


def finished(role: Role, initializer: Initializer) -> Initializer:
    """Return an initializer of the usual variance with what all such weights share."""
    made = initializer.scaled(ESTIMATE) if role.estimate else initializer
    if not is_orthogonal(role) or not isinstance(made, IndependentInitializer):
        return made
    layout = role.layout
    return Orthogonal(gain=made.std_for(layout) / Orthogonal().std_for(layout))


def is_orthogonal(role: Role) -> bool:
    """Return whether a weight is one matrix, or several, of few elements each.

    What a model makes of several parameters has no rows of its own, nor has what a sparse weight
    keeps. Complex numbers are drawn one by one.
    """
    layout = role.layout
    if not layout.is_map or layout.kind == "kept" or role.made or role.complex:
        return False
    return 1 < math.prod(layout.maps_shape[1:]) <= FEW


def reasons(role: Role, made: Initializer | None) -> tuple[str, str]:
    """Return what is to be said of it beside the rule's own reason, and the sources."""
    words, sources = "", ""
    if role.estimate:
        form = "is one number" if role.layout.is_one_unit else "has the form of an input"
        words += (
            f"; a quarter of that, since it gives the output, which {form}: its error starts near "
        )
        words += "that of zero"
        sources += "; Yang et al. 2022, appendix D.2"
    if isinstance(made, Orthogonal):
        words += "; orthogonal at this variance, which leaves less to chance"
        sources += "; Saxe et al. 2014; Yu et al. 2016"
    return words, sources
