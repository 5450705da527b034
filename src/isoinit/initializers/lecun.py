"""LeCun: a variance of 1/fan_in, so that a layer's output is as large as its input.

LeCun et al. (1998, section 4.6) drew weights with standard deviation fan_in^(-1/2), so that a unit
whose inputs have unit variance has a weighted sum of unit variance. Self-normalizing networks need
just that (Klambauer et al. 2017): SELU then pulls mean and variance to 0 and 1 at every layer.

Use it before SELU, before a norm layer, and where nothing follows. Not for ReLU, which would halve
the signal's second moment at each layer: use He.
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
class _LeCun(IndependentInitializer):
    gain: float = 1.0
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)

    def __post_init__(self) -> None:
        self._require("gain", low=0, above=True)

    def std_for(self, layout: Layout) -> float:
        """Gain / sqrt(fan_in)."""
        self._require_map(layout)
        return self.gain / math.sqrt(layout.fan_in)


@dataclass(frozen=True)
class LeCunNormal(_LeCun):
    """N(0, gain²/fan_in), by default N(0, 1/fan_in): weights before SELU.

    Use it before SELU, before a norm layer, and where no activation follows. Not before ReLU, which
    would halve the second moment at each layer: use `HeNormal`. A gain other than one is what
    `Plan.calibrate` measures on a batch.

    Source: LeCun et al. 1998, section 4.6; Klambauer et al. 2017, section 2.

    Raises:
        ArgumentError: unless `gain` is finite and above 0; on filling a vector.

    Example:
        >>> from isoinit.initializers.scale import fans
        >>> LeCunNormal().std_for(fans.linear((10, 400)))
        0.05
    """

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Normal."""
        return laws.normal(0.0, self.std_for(layout), dtype)


@dataclass(frozen=True)
class LeCunUniform(_LeCun):
    """U(-r, r) with r = gain · sqrt(3/fan_in): the same variance within bounds.

    Use it as `LeCunNormal`, where no weight may be far larger than the others. Not before ReLU.

    Source: LeCun et al. 1998, section 4.6.

    Raises:
        ArgumentError: unless `gain` is finite and above 0; on filling a vector.
    """

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Uniform."""
        bound = math.sqrt(3) * self.std_for(layout)
        return laws.uniform(-bound, bound, dtype)
