"""The scale of a weight: how many terms it sums, and what the activation beside it does."""

from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.scale.gains import activation_gain, function_gain

__all__ = ["Layout", "activation_gain", "function_gain"]
