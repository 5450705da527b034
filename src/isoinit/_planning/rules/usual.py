"""What all weights of the usual variance share, whichever rule gave them that.

**Estimates start small.** The output of an untrained network is noise, which training removes first.
Under a squared error, noise of the size of the targets doubles the loss, and noise of a quarter of
that size adds a sixteenth. So outputs that have the shape of an input start at a quarter. Other
outputs may be logits and start at one: there such noise adds little, and smaller weights would send
smaller gradients back.

**Few weights are orthogonal.** Orthogonal rows keep the inner products of inputs with less variance
than independent rows of the same variance (Yu et al. 2016), and no direction of the input is drawn
badly. This matters more in a narrow layer. Where there are few weights it costs no more than to draw
them one by one.
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
        form = "is one number" if role.layout.is_one_unit else "has the shape of an input"
        words += f"; a quarter of that, because it makes the output, which {form}: a small output "
        words += "starts with a small error"
        sources += "; Yang et al. 2022, appendix D.2"
    if isinstance(made, Orthogonal):
        words += "; orthogonal at this variance, which varies less from seed to seed"
        sources += "; Saxe et al. 2014; Yu et al. 2016"
    return words, sources
