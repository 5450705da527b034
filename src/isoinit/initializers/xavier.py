"""Xavier/Glorot: a variance that compromises between the forward and the backward signal.

A linear layer keeps the variance of its input if Var(w) = 1/fan_in, and that of the gradient if
Var(w) = 1/fan_out. Both at once are impossible unless the sides are equal, so Glorot & Bengio (2010,
eq. 12) take Var(w) = 2/(fan_in + fan_out). Derived for a unit that is linear around 0: tanh,
softsign, and a linear layer. Before a sigmoid, whose slope at 0 is 1/4, the signal still shrinks
with depth. Not for ReLU, which halves the second moment at each layer: use He.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from isoinit._drawing.streams import laws
from isoinit._drawing.streams.philox import Law
from isoinit.initializers.base import IndependentInitializer
from isoinit.initializers.scale.fans import Layout


@dataclass(frozen=True)
class _Xavier(IndependentInitializer):
    gain: float = 1.0
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)

    def __post_init__(self) -> None:
        self._require("gain", low=0, above=True)

    def std_for(self, layout: Layout) -> float:
        """Gain · sqrt(2 / (fan_in + fan_out))."""
        self._require_map(layout)
        return self.gain * math.sqrt(2 / (layout.fan_in + layout.fan_out))


@dataclass(frozen=True)
class XavierNormal(_Xavier):
    """N(0, gain² · 2/(fan_in + fan_out)): weights before tanh, or where no activation follows.

    Use it where a unit is linear around 0: before tanh, softsign, sigmoid, or nothing. Not before
    ReLU, which halves the second moment at each layer: use `HeNormal`.

    Source: Glorot & Bengio 2010, eq. 12.

    Raises:
        ArgumentError: unless `gain` is finite and above 0; on filling a vector.

    Example:
        >>> from isoinit.initializers.scale import fans
        >>> XavierNormal().std_for(fans.linear((300, 500)))
        0.05
    """

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Normal."""
        return laws.normal(0.0, self.std_for(layout), dtype)


@dataclass(frozen=True)
class XavierUniform(_Xavier):
    """U(-r, r) with r = gain · sqrt(6/(fan_in + fan_out)): the same variance within bounds.

    Use it as `XavierNormal`, where no weight may be far larger than the others. Not before ReLU.

    Source: Glorot & Bengio 2010, eq. 16, the "normalized initialization".

    Raises:
        ArgumentError: unless `gain` is finite and above 0; on filling a vector.
    """

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Uniform."""
        bound = math.sqrt(3) * self.std_for(layout)
        return laws.uniform(-bound, bound, dtype)
