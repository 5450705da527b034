"""The scale of a weight: how many terms it sums, and what the activation beside it does. No framework.

`fans` (what the axes of a parameter mean, fan-in and fan-out), `gains` (the gain of any activation, by
quadrature), `mean_field` (what weights read of an activation), `criticality` (the edge of chaos) and
`survival` (what is left after many layers). Import the names below from here, all else from them.
"""

from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.scale.gains import activation_gain, function_gain

__all__ = ["Layout", "activation_gain", "function_gain"]
