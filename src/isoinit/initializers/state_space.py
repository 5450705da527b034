"""Where the memory of a selective state space starts: decay rates and time steps.

A state decays by exp(-dt·a) a step, with a = exp(A_log) and dt = softplus(bias + ...). Rates of 1 to
N a channel and time steps spaced evenly in the logarithm give each channel states that remember from
a few to a few thousand steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoinit._drawing.logarithms import exp, log, log1mexp
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, WholeInitializer
from isoinit.initializers.scale.fans import Layout


@dataclass(frozen=True)
class DecayRates(WholeInitializer):
    """log(1), log(2), …, log(N) along the last axis: the logarithms of the rates of decay.

    Use it for Mamba's `A_log`. The stream is not used.

    Source: Gu & Dao 2023, section 3.6 ("S4D-Real"); Gu et al. 2022.
    """

    @property
    def is_fixed(self) -> bool:
        """Nothing is drawn."""
        return True

    def mean_for(self, layout: Layout) -> float:
        """The mean over the last axis."""
        return float(self._row(layout).mean())

    def std_for(self, layout: Layout) -> float:
        """The standard deviation over the last axis."""
        return float(self._row(layout).std())

    def largest_for(self, layout: Layout) -> float:
        """Return the last of the row."""
        return float(self._row(layout)[-1])

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """The same row everywhere."""
        return np.broadcast_to(self._row(layout), layout.shape)

    def _row(self, layout: Layout) -> Array:
        if not layout.shape:
            raise ArgumentError(
                f"{self} needs a parameter with at least one axis: the states along the last axis"
            )
        return log(np.arange(1.0, layout.shape[-1] + 1))


@dataclass(frozen=True)
class TimeSteps(WholeInitializer):
    """softplus⁻¹(dt), with dt spaced evenly in the logarithm between `low` and `high`.

    Use it for the bias of Mamba's `dt_proj`, which a softplus follows.

    Source: Gu & Dao 2023, section 3.6.

    Raises:
        ArgumentError: unless 0 < low < high.
    """

    low: float = 1e-3
    high: float = 0.1

    def __post_init__(self) -> None:
        self._require("low", low=0, above=True)
        self._require("high", low=0, above=True)
        if not self.low < self.high or math.isinf(self.high / self.low):
            raise ArgumentError(f"{self!r}: expected low < high, and a finite high/low")

    def mean_for(self, layout: Layout) -> float:
        """The mean of the bias."""
        return float(self._bias(np.linspace(0, 1, 4097)).mean())

    def std_for(self, layout: Layout) -> float:
        """The standard deviation of the bias."""
        return float(self._bias(np.linspace(0, 1, 4097)).std())

    def largest_for(self, layout: Layout) -> float:
        """Return the larger of the bias's ends."""
        return float(np.abs(self._bias(np.array([0.0, 1.0]))).max())

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """One time step an element."""
        uniform = np.empty(math.prod(layout.shape))
        stream.uniform(uniform)
        return self._bias(uniform).reshape(layout.shape)

    def _bias(self, share: Array) -> Array:
        steps = self.low * exp(share * log(self.high / self.low))
        return np.asarray(steps + log1mexp(steps))  # softplus⁻¹(y) = y + log(1 - e^-y)
