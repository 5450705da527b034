"""Random: a given distribution, whatever the layer.

The caller's standard deviation is used as it is: right where a recipe gives the number (0.02 for
GPT-2's weights, an embedding's size), wrong as a habit: too large a scale explodes with depth and
too small a one vanishes, at the rate std·sqrt(fan_in)/gain a layer. The other methods work the
number out from the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from isoinit._drawing.streams import laws
from isoinit._drawing.streams.philox import Law
from isoinit._drawing.streams.truncation import moments, require_drawable
from isoinit.errors import ArgumentError
from isoinit.initializers.base import IndependentInitializer
from isoinit.initializers.scale.fans import Layout


@dataclass(frozen=True)
class Uniform(IndependentInitializer):
    """U(a, b): every value of [a, b) equally likely; the standard deviation is (b - a)/sqrt(12).

    Use it where the range matters: nothing lies beyond the bounds. Not as a habit for weights, whose
    scale should follow the layer: `XavierUniform`, `HeUniform`, `LeCunUniform`.

    Raises:
        ArgumentError: unless a < b, both finite.
    """

    a: float = 0.0
    b: float = 1.0
    _sizes: ClassVar[tuple[str, ...]] = ("a", "b")

    def __post_init__(self) -> None:
        self._require("a")
        self._require("b")
        _require_interval(self, self.a, self.b)

    def std_for(self, layout: Layout) -> float:
        """(b - a) / sqrt(12)."""
        return (self.b - self.a) / math.sqrt(12)

    def mean_for(self, layout: Layout) -> float:
        """(a + b) / 2."""
        return (self.a + self.b) / 2

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Uniform."""
        return laws.uniform(self.a, self.b, dtype)


@dataclass(frozen=True)
class Normal(IndependentInitializer):
    """N(mean, std²).

    Use it where a recipe gives the standard deviation. About one value in 16,000 lies beyond 4 std;
    where that hurts, use `TruncatedNormal`. Not as a habit for weights, whose scale should follow the
    layer: `XavierNormal`, `HeNormal`, `LeCunNormal`.

    Raises:
        ArgumentError: if `std` is negative, or either is not finite.
    """

    mean: float = 0.0
    std: float = 1.0
    _sizes: ClassVar[tuple[str, ...]] = ("mean", "std")

    def __post_init__(self) -> None:
        self._require("mean")
        self._require("std", low=0)

    @property
    def is_constant(self) -> bool:
        """Whether nothing varies."""
        return self.std == 0

    def std_for(self, layout: Layout) -> float:
        """The standard deviation given."""
        return self.std

    def mean_for(self, layout: Layout) -> float:
        """The mean given."""
        return self.mean

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Normal."""
        return laws.normal(self.mean, self.std, dtype)


@dataclass(frozen=True)
class TruncatedNormal(IndependentInitializer):
    """N(mean, std²), cut to the values between `a` and `b` standard deviations from the mean.

    Use it as `Normal` without outliers (BERT's and ViT's weights). `a` and `b` count standard
    deviations, as in `scipy.stats.truncnorm` and in JAX: the bounds of `torch.nn.init`'s
    `trunc_normal_` are absolute, so that its default ±2 cuts nothing at a std of 0.02;
    `isoinit.functional.trunc_normal_` keeps that meaning.

    `std` is that of the normal before the cut: at ±2 the values that remain have 0.8796·std, which
    is what `std_for` and a plan report. Divide by that to keep a variance.

    Raises:
        ArgumentError: if `std` is negative; unless a < b; if [a, b] lies further out than 10.8
            standard deviations, or is narrower than a thousandth of its distance from the mean.
    """

    mean: float = 0.0
    std: float = 1.0
    a: float = -2.0
    b: float = 2.0
    _sizes: ClassVar[tuple[str, ...]] = ("mean", "std")  # the bounds count standard deviations

    def __post_init__(self) -> None:
        self._require("mean")
        self._require("std", low=0)
        self._require("a")
        self._require("b")
        _require_interval(self, self.a, self.b)
        try:
            require_drawable(self.a, self.b)
        except ArgumentError as error:
            raise ArgumentError(f"{self!r}: {error}") from None

    @property
    def is_constant(self) -> bool:
        """Whether nothing varies."""
        return self.std == 0

    def std_for(self, layout: Layout) -> float:
        """The standard deviation after the cut, in closed form."""
        return self.std * moments(self.a, self.b)[1]

    def mean_for(self, layout: Layout) -> float:
        """The mean given, where the cut is symmetric about it; else moved towards the longer side."""
        return self.mean + self.std * moments(self.a, self.b)[0]

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Normal, cut."""
        if self.std == 0:
            return laws.normal(self.mean, 0.0, dtype)
        low, high = self.mean + self.a * self.std, self.mean + self.b * self.std
        return laws.truncated_normal(self.mean, self.std, low, high, dtype)


def _require_interval(owner: IndependentInitializer, a: float, b: float) -> None:
    if not a < b:
        raise ArgumentError(f"{owner!r}: expected a < b, found a={a!r} and b={b!r}")
