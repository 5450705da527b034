"""One model under many initializations, side by side: the signal, and a short training."""

from isoinit.comparing.comparisons import Comparison, compare
from isoinit.comparing.methods import METHODS
from isoinit.comparing.results import Compared, Run

__all__ = ["METHODS", "Compared", "Comparison", "Run", "compare"]
