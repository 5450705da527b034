"""Variational: a weight starts as a distribution, whose mean and standard deviation are then trained.

A Bayesian network keeps a Gaussian N(μ, σ²) for every weight (Blundell et al. 2015) and starts from
some μ and σ. Libraries start σ at a constant whatever the layer's size, so that a wide network's
output begins as noise. Here both follow from the scale that a deterministic initializer would use.

Use it where the uncertainty of predictions matters, through `isoinit.variational.convert`. It costs
twice the memory and more steps to train than a plain network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isoinit._drawing.streams import Stream
from isoinit._drawing.streams.philox import Law
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, Initializer
from isoinit.initializers.lecun import LeCunNormal
from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.zero import Dirac, GateBias, Identity


@dataclass(frozen=True)
class Variational(Initializer):
    """A learned Gaussian for every weight, which keeps the scale that was planned.

    Use it where the uncertainty of predictions matters, with `isoinit.variational.convert`. Not for
    accuracy alone: it costs twice the memory, and more steps.

    Args:
        base: the initializer of a deterministic network, which sets the total standard deviation s.
        scale: the relative standard deviation: σ = scale·s/sqrt(1 + scale²).

    The mean is a draw of `base` divided by sqrt(1 + scale²), so that a sampled weight has variance
    s² in all: the signal of a sampled network is that of the deterministic one at any depth.

    On a plain parameter, one that holds a single value a weight, `fill` writes the draw of `base`.

    Source: Blundell et al. 2015, section 3.2, for the posterior; the division is derived here.

    Raises:
        ArgumentError: unless `scale` is finite and above 0, and `base` an initializer that varies.
    """

    base: Initializer = field(default_factory=LeCunNormal)
    scale: float = 0.1

    def __post_init__(self) -> None:
        self._require("scale", low=0, above=True)
        fixed = (Variational, Identity, Dirac, GateBias)  # nothing of these is drawn, or twice
        if (
            not isinstance(self.base, Initializer)
            or self.base.is_constant
            or isinstance(self.base, fixed)
        ):
            raise ArgumentError(
                f"Variational(base={self.base!r}): expected an initializer that draws weights, such "
                "as HeNormal()"
            )

    @property
    def shrink(self) -> float:
        """What the draw of `base` is multiplied by to make the mean."""
        return 1 / math.sqrt(1 + self.scale**2)

    def std_for(self, layout: Layout) -> float:
        """The standard deviation of a sampled weight: that of `base`."""
        return self.base.std_for(layout)

    def largest_for(self, layout: Layout) -> float:
        """Return that of `base`."""
        return self.base.largest_for(layout)

    def share_for(self, layout: Layout) -> float:
        """Return that of `base`."""
        return self.base.share_for(layout)

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law | None:
        """That of `base`."""
        return self.base.law(layout, dtype)

    def scaled(self, factor: float) -> Initializer:
        """Return it with a scaled base and the same relative standard deviation."""
        return replace(self, base=self.base.scaled(factor))

    def fill(self, out: Array, stream: Stream, layout: Layout, start: int = 0) -> None:
        """Draw from `base`."""
        self.base.fill(out, stream, layout, start)
