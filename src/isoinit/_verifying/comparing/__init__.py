"""One model under many initializations, side by side: the signal, and a short training.

Free of any framework: `methods` (names) and `turns` (one method's, and all of them) → `results`
(what came of a method) → `pages`, `side_by_side` (all methods: tables, a page and JSON). `torch/`
builds, trains and checks models of torch, and `isoinit.jax.compare` those of JAX. Import the names
below from here: this package loads no framework.
"""

from isoinit._verifying.comparing.methods import METHODS
from isoinit._verifying.comparing.results import Compared, Run
from isoinit._verifying.comparing.side_by_side import Comparison

__all__ = ["METHODS", "Compared", "Comparison", "Run"]
