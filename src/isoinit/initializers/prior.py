"""Output biases that start at what is known of the answers before any example is seen.

A classifier that starts at the frequencies of its classes starts at the loss of one that knows
nothing but them, and need not spend its first steps on learning them. A detector, almost all of whose
places hold nothing, would start with a loss of a thousand false alarms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoinit._drawing.logarithms import log
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, WholeInitializer
from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.zero import _Fixed


@dataclass(frozen=True)
class LogFrequencies(WholeInitializer):
    """log(n_c / Σ n) for each class c: the bias of a softmax classifier's last layer.

    Use it where classes are not equally frequent. Not where the last layer feeds something else than
    a softmax: for a sigmoid use `PriorBias`.

    Args:
        frequencies: how often each class occurs, in any unit; all above zero.

    Source: common practice; the softmax of these logits is the frequencies.

    Raises:
        ArgumentError: unless there are frequencies, all finite and above 0; on filling a bias of
            another length.
    """

    frequencies: tuple[float, ...]

    def __post_init__(self) -> None:
        expected = "expected the number of examples of each class"
        try:
            self._require_all("frequencies", above=0)
        except ArgumentError as error:
            never = "use 1 for a class that never occurs"
            raise ArgumentError(f"{error}; {expected}, {never}") from None
        if not self.frequencies:
            raise ArgumentError(f"LogFrequencies(frequencies=()): {expected}")

    def mean_for(self, layout: Layout) -> float:
        """The mean over the classes."""
        return float(self._logs(layout).mean())

    def std_for(self, layout: Layout) -> float:
        """The standard deviation over the classes."""
        return float(self._logs(layout).std())

    @property
    def is_fixed(self) -> bool:
        """Nothing is drawn."""
        return True

    def largest_for(self, layout: Layout) -> float:
        """Return the largest logarithm."""
        return float(np.abs(self._logs(layout)).max())

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """The logarithms; the stream is not used."""
        return self._logs(layout).reshape(layout.shape)

    def __str__(self) -> str:
        return f"LogFrequencies({len(self.frequencies)} classes)"

    def _logs(self, layout: Layout) -> Array:
        if math.prod(layout.shape) != len(self.frequencies):
            raise ArgumentError(
                f"{self} needs a bias with one element for each class, found shape {layout.shape}"
            )
        counts = np.array(self.frequencies)
        return log(counts / counts.sum())


@dataclass(frozen=True)
class PriorBias(_Fixed):
    """-log((1 - π)/π): the bias of a sigmoid output that is on with probability π.

    Use it for the classification head of a detector, where almost every place is empty.

    Source: Lin et al. 2017 (RetinaNet), section 4.1, with π = 0.01.

    Raises:
        ArgumentError: unless 0 < `prior` < 1.
    """

    prior: float = 0.01

    def __post_init__(self) -> None:
        self._require("prior", low=0, high=1, above=True)
        if self.prior == 1:
            raise ArgumentError("PriorBias(prior=1): expected a number below 1")

    @property
    def _value(self) -> float:
        return -math.log((1 - self.prior) / self.prior)
