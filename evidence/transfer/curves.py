"""The loss by learning rate: the best rate, and what another one costs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Mean:
    """A mean and its standard error."""

    value: float
    error: float

    def shown(self, digits: int, sign: str = "") -> str:
        """Return both with as many digits after the point."""
        if not math.isfinite(self.value):
            return "fails"
        return f"{self.value:{sign}.{digits}f} ± {self.error:.{digits}f}"

    def alone(self, digits: int) -> str:
        """Return the mean without its error."""
        return f"{self.value:.{digits}f}" if math.isfinite(self.value) else "fails"


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of some seeds; infinite if one of them failed."""
    if not all(map(math.isfinite, values)):
        return Mean(math.inf, 0.0)
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Mean(statistics.fmean(values), error)


@dataclass(frozen=True)
class Curve:
    """The losses of one scheme at one size.

    Attributes:
        runs: a loss a seed, by log2 of the rate.
    """

    runs: Mapping[int, Sequence[float]]

    @classmethod
    def read(cls, runs: Mapping[Any, Sequence[float]]) -> Curve:
        """Return the curve of a row; in a file its keys are text."""
        return cls(
            dict(sorted((int(exponent), tuple(losses)) for exponent, losses in runs.items()))
        )

    def loss(self, exponent: int) -> Mean:
        """Return the mean loss at a rate."""
        return mean_of(self.runs[exponent])

    @property
    def best(self) -> int:
        """Log2 of the rate with the lowest mean loss."""
        return min(self.runs, key=lambda exponent: self.loss(exponent).value)

    @property
    def lowest(self) -> Mean:
        """The mean loss at the best rate."""
        return self.loss(self.best)

    @property
    def vertices(self) -> list[float]:
        """Log2 of the best rate between those that were tried, a seed at a time."""
        seeds = range(len(self.runs[self.best]))
        return [vertex({e: losses[seed] for e, losses in self.runs.items()}) for seed in seeds]

    @property
    def vertex(self) -> Mean:
        """The mean of the vertices."""
        return mean_of(self.vertices)

    def extra(self, exponent: int) -> list[float]:
        """Return the loss at a rate less that at the best one, a seed at a time."""
        return differences(self.runs[exponent], self.runs[self.best])

    def cost(self, exponent: int) -> Mean:
        """Return the mean of the loss at a rate less that at the best one."""
        return mean_of(self.extra(exponent))


def differences(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the first less the second of pairs; infinite where the first failed."""
    pairs = zip(ones, others, strict=True)
    return [math.inf if math.isinf(one) else one - other for one, other in pairs]


def lower(ones: Sequence[float], others: Sequence[float]) -> bool:
    """Return whether the first of pairs are lower, on average by more than two standard errors."""
    if not all(map(math.isfinite, ones)):
        return False
    gap = mean_of(differences(others, ones))
    return gap.value > 2 * gap.error


def vertex(losses: Mapping[int, float]) -> float:
    """Return where the parabola through the lowest loss and its two neighbours is lowest.

    Where a neighbour is missing or failed, that is where the lowest loss itself is.
    """
    best = min(losses, key=losses.__getitem__)
    left, middle, right = (losses.get(best + by, math.inf) for by in (-1, 0, 1))
    bend = left - 2 * middle + right
    if not math.isfinite(bend) or bend <= 0:
        return float(best)
    return best + 0.5 * (left - right) / bend


@dataclass(frozen=True)
class Kept:
    """One scheme over all sizes.

    Attributes:
        curves: by size, the base first.
    """

    curves: Mapping[int, Curve]

    @property
    def base(self) -> Curve:
        """The curve of the smallest size."""
        return next(iter(self.curves.values()))

    @property
    def last(self) -> Curve:
        """The curve of the largest size."""
        return list(self.curves.values())[-1]

    @property
    def moved(self) -> Mean:
        """How far log2 of the best rate moves from the first size to the last."""
        return mean_of(differences(self.last.vertices, self.base.vertices))

    @property
    def furthest(self) -> float:
        """The largest distance of any size's best rate from the base's, in log2."""
        first = self.base.vertex.value
        return max(abs(curve.vertex.value - first) for curve in self.curves.values())

    @property
    def costs(self) -> dict[int, Mean]:
        """What each size pays for the base's best rate."""
        return {size: curve.cost(self.base.best) for size, curve in self.curves.items()}

    @property
    def extra(self) -> list[float]:
        """What the last size pays for the base's best rate, a seed at a time."""
        return self.last.extra(self.base.best)

    @property
    def reused(self) -> list[Mean]:
        """The loss of each size at the base's best rate."""
        return [curve.loss(self.base.best) for curve in self.curves.values()]

    @property
    def falls(self) -> bool:
        """Whether each larger size has a lower loss than the one before, at the base's best rate."""
        return all(larger.value < smaller.value for smaller, larger in pairwise(self.reused))


def slope(values: Mapping[int, float]) -> float:
    """Return the slope of log2 of some values by log2 of the width, by least squares.

    Raises:
        ValueError: if a value is not above 0, as of a layer that does not change.
    """
    if not all(0 < value < math.inf for value in values.values()):
        raise ValueError("a change is zero or not finite: its logarithm has no slope")
    found = statistics.linear_regression(
        list(map(math.log2, values)), list(map(math.log2, values.values()))
    )
    return found.slope
