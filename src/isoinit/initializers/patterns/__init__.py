"""Which weights are not zero: patterns drawn from a parameter's stream, as indices and never as masks.

A pattern says, for each unit (a row), which of its inputs it keeps. All are drawn so that no row is
empty, and no column either where the weights suffice. Adding a pattern is one file here and one row
of `parse`.
"""

from isoinit.initializers.patterns._parse import parse
from isoinit.initializers.patterns.base import Kept, Pattern, shape_of
from isoinit.initializers.patterns.blocks import Blocks
from isoinit.initializers.patterns.fixed import Fixed
from isoinit.initializers.patterns.n_of_m import NOfM
from isoinit.initializers.patterns.random import Random

__all__ = ["Blocks", "Fixed", "Kept", "NOfM", "Pattern", "Random", "parse", "shape_of"]
