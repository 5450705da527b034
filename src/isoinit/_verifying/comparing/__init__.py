"""One model under many initializations, side by side: the signal, and a short training.

`methods` (how a model starts) and `training` (steps, watched) → `trials` (one method's turns) →
`results` (what came of it); `pages` (a comparison as a page), `comparisons` (the verb). Import the
names below from here.
"""

from isoinit._verifying.comparing.comparisons import Comparison, compare
from isoinit._verifying.comparing.methods import METHODS
from isoinit._verifying.comparing.results import Compared, Run

__all__ = ["METHODS", "Compared", "Comparison", "Run", "compare"]
