"""Samples of the gradient at one value, and what the functions of a backward walk share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import CHANCE, HERE, NEARBY, SAMPLES, normals
from isoinit._reading.graph import Array, Op


@dataclass(frozen=True)
class Gradient:
    """Samples of the loss's gradient at one value.

    Attributes:
        row: one sample for each sample *here* of the value's signal, (SAMPLES,): a gradient follows
            the sign or the size of the signal that it comes back to.
        near: the mean product of two gradients of one unit at two places of one example.

    Gradients of different examples count as independent: the loss's gradient is noise.
    """

    row: Array
    near: float = 0.0

    @cached_property
    def second(self) -> float:
        """The mean square over units and places."""
        return float(self.row @ self.row) / SAMPLES

    def times(self, factor: float) -> Gradient:
        """Return the gradient times a number."""
        return Gradient(self.row * factor, self.near * factor**2)

    def resized(self, second: float, near: float) -> Gradient:
        """Return the same samples with another mean square, and the product of two places."""
        now = self.second
        return Gradient(self.row * math.sqrt(max(second, 0.0) / now) if now else self.row, near)

    def plus(self, other: Gradient) -> Gradient:
        """Return the sum; without sampling error where the two are independent."""
        row = self.row + other.row
        second = self.second + other.second
        both = float(self.row @ other.row) / SAMPLES
        if abs(both) > CHANCE * math.sqrt(self.second * other.second):
            second += 2 * both
        return Gradient(row).resized(second, self.near + other.near)


NOTHING = Gradient(np.zeros(SAMPLES))


@dataclass
class Backward:
    """One walk back through a graph.

    Attributes:
        context: the walk forward, with the signal at every value where it is known.
        carries: the values that depend on a parameter: gradients go to no others.
        gradients: the sum of what has come back to each value so far; None where a part of it is
            not known; missing where nothing has come.
    """

    context: Context
    carries: set[int]
    gradients: dict[int, Gradient | None] = field(default_factory=dict)
    _drawn: int = 0

    def send(self, value: int, gradient: Gradient | None) -> None:
        """Add a gradient to what has come back to a value."""
        if value not in self.carries:
            return
        before = self.gradients.get(value, NOTHING)
        if gradient is None or before is None:
            self.gradients[value] = None
        else:
            self.gradients[value] = gradient if before is NOTHING else before.plus(gradient)

    def here(self, value: int) -> Array | None:
        """Return the samples of the signal at a value; None where that is not known."""
        signal = self.context.signals.get(value)
        return None if signal is None else signal.rows[HERE]

    def typed(self, value: int) -> Array | None:
        """Return these samples in the type that the model computes with."""
        rows, signal = self.here(value), self.context.signals.get(value)
        if rows is None or signal is None or signal.dtype == np.float64:
            return rows
        return rows.astype(signal.dtype)

    def alike(self, value: int) -> float:
        """Return how correlated the signal is at two places of one example."""
        signal = self.context.signals.get(value)
        if signal is None:
            return 0.0
        here, nearby = signal.rows[HERE], signal.rows[NEARBY]
        second = float(here @ here)
        return min(max(float(here @ nearby) / second, 0.0), 1.0) if second else 0.0

    def size(self, value: int) -> tuple[int, ...]:
        """Return the shape of a value."""
        return self.context.graph.sizes.get(value, ())

    def per(self, many: int, few: int) -> float | None:
        """Return how many elements one value has for each of another; None if not known."""
        sizes = self.context.graph.sizes
        if many not in sizes or few not in sizes:
            return None
        return math.prod(sizes[many]) / max(math.prod(sizes[few]), 1)

    def noise(self, second: float, near: float = 0.0) -> Gradient:
        """Return random signs times a size, independent of the signals and of all drawn before.

        Only products of gradients are asked for, and those of signs have no sampling error. Two
        fixed rows are rotated against each other: no two draws have both rotations in common.
        """
        self._drawn += 1
        first, other = 977 * self._drawn % SAMPLES, 1531 * self._drawn % (SAMPLES - 1)
        twice = _signs()
        row = twice[0, first : first + SAMPLES] * twice[1, other : other + SAMPLES]
        return Gradient(row * math.sqrt(max(second, 0.0)), near)


@cache
def _signs() -> Array:
    """Return two rows of signs, each one twice, so that any part as long as one is a rotation."""
    return np.concatenate([np.sign(normals()[1:])] * 2, axis=1)


# The gradients by an operation's inputs, one each, given that by its output.
PullBack = Callable[[Backward, Op, Gradient], Sequence["Gradient | None"]]


def unknown(op: Op) -> list[Gradient | None]:
    """Return what is known of the gradients behind an operation that is not followed: nothing."""
    return [None] * len(op.inputs)


def summed(gradient: Gradient, count: float) -> Gradient:
    """Return the sum of the gradients of `count` places that one element was copied to."""
    own = gradient.second - gradient.near
    second = count * own + count**2 * gradient.near
    return gradient.resized(second, count**2 * gradient.near)


def aligned(gradient: Gradient, made: Array | None, given: Array | None) -> Gradient:
    """Return a part's gradient at the samples of the whole.

    A part of a signal has its samples, rotated (`samples.part`): they are rotated back. Where the
    samples are others, such as those of an average, the gradient stays as it is.

    Args:
        gradient: that of the part.
        made: samples of the part's signal.
        given: samples of the whole's signal.
    """
    if made is None or given is None:
        return gradient
    turn = int(np.argmax(made == given[0]))
    if not turn or not np.array_equal(made[turn : turn + 3], given[: min(3, SAMPLES - turn)]):
        return gradient
    return replace(gradient, row=np.roll(gradient.row, -turn))
