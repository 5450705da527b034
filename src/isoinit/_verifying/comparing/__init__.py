"""One model under many initializations, side by side: the signal, and a short training."""

from isoinit._verifying.comparing.comparisons import Comparison, compare
from isoinit._verifying.comparing.methods import METHODS
from isoinit._verifying.comparing.results import Compared, Run

__all__ = ["METHODS", "Compared", "Comparison", "Run", "compare"]
