"""Samples of a value's units, which stand for its distribution on the way through a graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._planning.propagation.draws import SAMPLES as SAMPLES
from isoinit._planning.propagation.draws import Draws
from isoinit._reading.graph import Array

# Correlations below this are what independent samples show by chance (five standard errors).
CHANCE = 5 / math.sqrt(SAMPLES)
SAME = 1e-6  # of a signal's size: places that differ by less are alike
FEW = 8  # samples that must not make up a second moment between them
HERE, NEARBY, ACROSS = range(3)


# What is known of the samples alone: it stays where the rows do.
OF_ROWS = ("mean", "means", "second", "makers", "_products")


@dataclass(frozen=True)
class Signal:
    """Samples of one value's units.

    Attributes:
        rows: samples, (3, SAMPLES): here, nearby, and across examples.
        units: the axes of the value along which the units of a layer lie; the others are places.
        shares: for softmax weights, how many of them share the sum of one; else 0.
        even: for such weights, the sum of their squares.
        dtype: what the samples are where the model computes with them: float64, or booleans or
            integers, which `rows` holds as numbers.
        measured: whether its moments were measured in a run of the model.
        unlike: the axes along which it was joined of parts of different distributions.
    """

    rows: Array
    units: frozenset[int]
    shares: int = 0
    even: float = 0.0
    measured: bool = False
    unlike: frozenset[int] = frozenset()
    dtype: npt.DTypeLike = np.float64

    @property
    def flat(self) -> Array:
        """The samples as one row, in the type that the model computes with."""
        return self.rows.ravel().astype(self.dtype, copy=False)

    @cached_property
    def mean(self) -> float:
        """The mean over units."""
        return float(self.rows[HERE].sum()) / SAMPLES

    @cached_property
    def means(self) -> Array:
        """The mean of each row."""
        means: Array = self.rows.mean(1)
        return means

    @cached_property
    def second(self) -> float:
        """The mean square over units."""
        return float(self.rows[HERE] @ self.rows[HERE]) / SAMPLES

    @property
    def rms(self) -> float:
        """The root of the second moment."""
        return math.sqrt(self.second)

    def nearby(self, count: float = math.inf) -> float:
        """Return the mean product of two of `count` places.

        Many places that can be exchanged are never negatively correlated (de Finetti 1937), and n of
        them never by more than -1/(n - 1). Samples show more than that by chance, which would make
        the mean over places vanish: it keeps three quarters of what independent places leave.
        """
        mean = self.mean**2
        least = mean - max(self.second - mean, 0.0) / (4 * max(count - 1, 1))
        return max(float(self.rows[HERE] @ self.rows[NEARBY]) / SAMPLES, least)

    @cached_property
    def makers(self) -> float:
        """How many of the samples make up the second moment: their number over the kurtosis."""
        squares = np.square(self.rows[HERE])
        fourth = float(squares @ squares)
        return float(squares.sum()) ** 2 / fourth if fourth > 0 else math.inf

    @property
    def trusted(self) -> bool:
        """Whether its second moment does not come from a few samples, as that of 1/z does."""
        here = self.rows[HERE]
        largest = max(float(here.max()), -float(here.min()))
        # Σ x⁴ is at most the largest square times Σ x²: mostly that is enough, in half the time.
        return self.second * SAMPLES > FEW * largest * largest or self.makers > FEW

    @property
    def products(self) -> Array:
        """The mean products of the rows, (3, 3)."""
        return np.array(self._products)

    @cached_property
    def _products(self) -> list[list[float]]:
        here, near, far = self.rows
        # A third of the time of `rows @ rows.T`.
        pairs = (here, here), (near, near), (far, far), (here, near), (here, far), (near, far)
        own, its, other, aside, across, apart = (float(a @ b) / SAMPLES for a, b in pairs)
        return [[own, aside, across], [aside, its, apart], [across, apart, other]]


@dataclass(frozen=True)
class Segments:
    """Parts of a value that lie side by side along an axis, each with a distribution of its own.

    Attributes:
        axis: the axis.
        ends: where each part ends.
        signals: the signal of each part; None where it is not known.
    """

    axis: int
    ends: tuple[int, ...]
    signals: tuple[Signal | None, ...]

    def within(self, first: int, last: int) -> Signal | None:
        """Return the signal of what lies from `first` to `last`; None unless one part holds it."""
        begin = 0
        for end, signal in zip(self.ends, self.signals, strict=True):
            if begin <= first and last <= end:
                return signal
            begin = end
        return None


def replace(signal: Signal, **changes: Any) -> Signal:
    """Return a signal with other fields: `dataclasses.replace`, which takes ten times as long.

    What was computed of the rows is not computed again where these stay.
    """
    before = vars(signal)
    made = Signal(**({name: before[name] for name in FIELDS} | changes))
    if made.rows is signal.rows:
        vars(made).update({name: before[name] for name in OF_ROWS if name in before})
    return made


FIELDS = tuple(Signal.__dataclass_fields__)


def gaussian(rng: Draws, products: Array, units: frozenset[int] = frozenset()) -> Signal:
    """Return Gaussian samples with these mean products of rows, each row of the first one's size."""
    order = rng.permutation(SAMPLES)
    given: list[list[float]] = products.tolist()
    sizes = [math.sqrt(max(given[i][i], 0.0)) for i in range(3)]
    to = [sizes[HERE] / size if size > 0 else sizes[HERE] for size in sizes]
    alike = [[given[i][j] * (to[i] * to[j]) for j in range(3)] for i in range(3)]
    return Signal(np.array(_root(alike)) @ normals().take(order, axis=1), units)


def mirrored(rng: Draws, products: Array, units: frozenset[int]) -> Signal:
    """Return Gaussian samples of which the second half is the first with the other sign."""
    rows = gaussian(rng, products).rows[:, : SAMPLES // 2]
    rows = rows * np.sqrt(np.diag(products) / np.maximum(np.square(rows).mean(1), 1e-300))[:, None]
    return Signal(np.concatenate([rows, -rows], 1), units)


def of_moments(rng: Draws, like: Signal, second: float, near: float, far: float) -> Signal:
    """Return samples of these moments, Gaussian about the mean of another signal."""
    mean = like.mean
    signal = gaussian(rng, products_of(second, near, far) - mean**2, like.units)
    return replace(signal, rows=signal.rows + mean)


def products_of(second: float, near: float, far: float) -> Array:
    """Return the mean products of the rows; correlations by place and by example multiply."""
    both = near * far / second if second else 0.0
    return np.array([[second, near, far], [near, second, both], [far, both, second]])


def put_right(name: str, rows: Array, left: Signal, right: Signal) -> Array:
    """Return the rows of a sum or product, without sampling error where the signals are independent.

    All mean products of the rows are known then, and the rows are mixed a little so as to have them.
    Correlations that chance leaves between places would not average out where places are averaged.
    """
    sign = -1 if name == "sub" else 1
    if not independent(left, right):
        return rows
    wanted = left.products * right.products
    if name != "mul":
        means = np.outer(left.means, right.means)
        wanted = left.products + right.products + sign * (means + means.T)
    return mixed(rows, wanted)


def independent(left: Signal, right: Signal) -> bool:
    """Return whether two signals show no more dependence than independent samples do by chance."""
    a, b = (signal.rows[HERE] for signal in (left, right))
    return abs(_correlation(a, b)) <= CHANCE and abs(_correlation(a * a, b * b)) <= CHANCE


def mixed(rows: Array, wanted: Array) -> Array:
    """Return rows that are mixed a little, so as to have these mean products."""
    found = Signal(rows, frozenset()).products
    was, is_ = np.array(_root(found.tolist())), np.array(_root(wanted.tolist()))
    first = float(found[HERE, HERE])
    if min(*np.diag(was), *np.diag(is_)) > SAME * math.sqrt(first):
        together: Array = is_ @ np.linalg.inv(was) @ rows
        return together
    second = float(wanted[HERE, HERE])  # places or examples are all alike
    return rows * math.sqrt(second / first) if min(second, first) > 0 else rows


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    found = float(a @ b) / size if size > 0 else 0.0
    if abs(found) <= CHANCE:
        return found
    smallest = 1e-12 * SAMPLES * float(abs(a).max() * abs(b).max())  # of what is but rounding
    return found if size > smallest else 0.0


def part(signal: Signal, index: int) -> Signal:
    """Return other units of the same distribution, independent of the first: a part of a split."""
    return replace(signal, rows=np.roll(signal.rows, 1 + 37 * (index % 50), axis=1))


def elsewhere(signal: Signal, index: int, *, example: bool = False) -> Signal:
    """Return the same units at another place: as correlated with the first as two places are.

    Each sample is kept with the probability that gives this correlation, or else is another unit.

    Args:
        signal: at one place.
        index: distinguishes what is taken of one signal.
        example: whether the place is one of another example.
    """
    spread = signal.second - signal.mean**2
    common = float(signal.products[HERE, ACROSS]) if example else signal.nearby()
    alike = min((common - signal.mean**2) / spread, 1.0) if spread > 0 else 1.0
    other = np.roll(signal.rows, 1 + 37 * index % SAMPLES, axis=1)
    if alike < CHANCE:
        return replace(signal, rows=other)
    kept = np.random.default_rng(index).random(SAMPLES) < math.sqrt(alike)
    return replace(signal, rows=np.where(kept, signal.rows, other))


def _root(products: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the lower triangular L with L·Lᵀ nearest to what may not be positive definite."""
    root = [[0.0, 0.0, 0.0] for _ in range(3)]
    for i, row in enumerate(root):
        for j in range(i + 1):
            other = root[j]
            rest = products[i][j]
            for k in range(j):
                rest -= row[k] * other[k]
            if i == j:
                row[i] = math.sqrt(max(rest, 0.0))
            else:
                row[j] = rest / other[j] if other[j] > 0 else 0.0
        norm = math.sqrt(max(products[i][i], 0.0))
        length = math.sqrt(sum(number * number for number in row))
        if length > norm > 0:
            root[i] = [number * (norm / length) for number in row]
    return root


@cache
def normals() -> Array:
    """Return three rows of samples with the quantiles of a normal, mean zero, uncorrelated."""
    levels = (np.arange(SAMPLES) + 0.5) / SAMPLES
    row = np.array([NormalDist().inv_cdf(level) for level in levels])
    row /= np.sqrt(np.square(row).mean())
    rng = np.random.default_rng(0)
    rows = [row]
    while len(rows) < 3:
        other = rng.permutation(row)
        for known in rows:
            other = other - (other @ known / SAMPLES) * known
        rows.append(other / np.sqrt(np.square(other).mean()))
    return np.stack(rows)
