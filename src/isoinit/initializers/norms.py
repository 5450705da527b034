"""Norms and Directions: the two parameters of a weight under weight normalization.

The weight is W = g·v/‖v‖, the norm taken along one axis (Salimans & Kingma 2016, eq. 2). With v drawn
as the weight shall be, and g the norms of what was drawn, the weight is v up to rounding. So the size
of the weight is that of its initializer, and the direction and the length start in step.

The norms depend on the same stream as v. Any part of g is computed without v, on any machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, Initializer, WholeInitializer, store
from isoinit.initializers.scale.fans import Layout

_TOGETHER = 2**22  # elements of v that are drawn at once


@dataclass(frozen=True)
class Norms(Initializer):
    """The norms of what `base` draws for another parameter: g beside v of a normalized weight.

    A plan makes it where it meets weight normalization. It is in step with the entry of `of`.

    Args:
        base: the initializer of the other parameter.
        of: the name of the other parameter, whose stream is drawn from.
        layout: what the axes of the other parameter mean.
        axis: the axis along which each index has a norm of its own; None for one norm of all.

    Source: Salimans & Kingma 2016, eq. 2.

    Raises:
        ArgumentError: if `base` is no initializer; if `axis` is none of the layout's, or the parameter
            has another shape than the norms.

    Example:
        >>> import isoinit, torch
        >>> model = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(64, 32))
        >>> plan = isoinit.plan(model, torch.zeros(1, 64))
        >>> _ = plan.apply(model, seed=0)
        >>> print(plan["parametrizations.weight.original0"].initializer)
        Norms(Orthogonal())
        >>> torch.allclose(model.weight, model.parametrizations.weight.original1)
        True
    """

    base: Initializer
    of: str
    layout: Layout
    axis: int | None = 0

    def __post_init__(self) -> None:
        self._require_base()
        if self.axis is not None:
            self._require("axis", low=0, high=len(self.layout.shape) - 1, whole=True)

    @property
    def _terms(self) -> int:
        """How many squares one norm sums up."""
        return math.prod(n for axis, n in enumerate(self.layout.shape) if axis != self.axis)

    def std_for(self, layout: Layout) -> float:
        """How far a norm of independent Gaussian elements is from its mean: Var(‖v‖) ≈ σ²/2."""
        count = math.prod(self.layout.shape) // max(self._terms, 1)
        if math.prod(layout.shape) != count:
            raise ArgumentError(
                f"{self} of {self.layout.shape} along axis {self.axis} gives {count} norms, found "
                f"shape {layout.shape}"
            )
        independent = self.base.law(self.layout, np.dtype(np.float64)) is not None
        return self.base.std_for(self.layout) / math.sqrt(2) if independent else 0.0

    def mean_for(self, layout: Layout) -> float:
        """The root of the summed mean squares."""
        square = self.base.std_for(self.layout) ** 2 + self.base.mean_for(self.layout) ** 2
        return math.sqrt(self._terms * square)

    def largest_for(self, layout: Layout) -> float:
        """Return the norm of a row of the largest elements."""
        return math.sqrt(self._terms) * self.base.largest_for(self.layout)

    def require_fit(self, layout: Layout, dtype: np.dtype[Any]) -> None:
        """Raise unless a type can hold both the norms and the elements, which are drawn in it."""
        self.base.require_fit(self.layout, dtype)
        super().require_fit(layout, dtype)

    def fill(self, out: Array, stream: Stream, layout: Layout, start: int = 0) -> None:
        """Draw what the other parameter gets, and write its norms."""
        self.require_fit(layout, out.dtype)
        stream, shape = replace(stream, name=self.of), self.layout.shape
        if self.axis != 0:
            drawn = np.empty(math.prod(shape), out.dtype)
            self.base.fill_piece(drawn, stream, self.layout, Piece.whole(shape))
            store(self._norms(drawn.reshape(shape))[start : start + out.size], out)
            return
        band = max(1, _TOGETHER // max(self._terms, 1))
        for first in range(start, start + out.size, band):
            last = min(first + band, start + out.size)
            piece = Piece.of(shape, (slice(first, last),))
            drawn = np.empty(math.prod(piece.held), out.dtype)
            self.base.fill_piece(drawn, stream, self.layout, piece)
            norms = self._norms(drawn.reshape(piece.held))
            store(norms, out[first - start : last - start])

    def _norms(self, drawn: Array) -> Array:
        return np.sqrt(_summed(_rows(drawn, self.axis)))

    def __str__(self) -> str:
        return f"Norms({self.base})"


@dataclass(frozen=True)
class Directions(WholeInitializer):
    """What `base` draws, with ones in place of rows that are all zero: v of a normalized weight.

    The weight is g·v/‖v‖: a row of zeros is one by its g, since v must have a direction.

    Args:
        base: the initializer of the weight.
        axis: as for `Norms`.

    Source: Salimans & Kingma 2016, eq. 2.

    Raises:
        ArgumentError: if `base` is no initializer, or `axis` no number from 0 on.
    """

    base: Initializer
    axis: int | None = 0

    def __post_init__(self) -> None:
        self._require_base()
        if self.axis is not None:
            self._require("axis", low=0, whole=True)

    def std_for(self, layout: Layout) -> float:
        """That of the weight, which is that of `base`."""
        return self.base.std_for(layout)

    def largest_for(self, layout: Layout) -> float:
        """Return that of `base`, or one."""
        return max(1.0, self.base.largest_for(layout))

    def share_for(self, layout: Layout) -> float:
        """Return that of `base`."""
        return self.base.share_for(layout)

    @property
    def is_constant(self) -> bool:
        """Whether every unit computes the same: that of `base`."""
        return self.base.is_constant

    @property
    def mirror(self) -> Any:
        """That of `base`, where its units are mirrored."""
        return getattr(self.base, "mirror", "")

    def scaled(self, factor: float) -> Directions:
        """With a scaled `base`."""
        return replace(self, base=self.base.scaled(factor))

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """A draw of `base`, rows of zeros replaced."""
        drawn = np.empty(math.prod(layout.shape))
        self.base.fill_piece(drawn, stream, layout, Piece.whole(layout.shape))
        shaped = drawn.reshape(layout.shape)
        lines = shaped[None] if self.axis is None else np.moveaxis(shaped, self.axis, 0)
        lines[~_rows(shaped, self.axis).any(1)] = 1.0  # a view: written into `shaped`
        return shaped


def vanishing_rows(initializer: Initializer, layout: Layout, axis: int | None) -> bool:
    """Return whether an initializer draws rows that are all zero; a trial draw shows it."""
    if layout.padding is not None:
        layout = replace(layout, padding=None)
    law = initializer.law(layout, np.dtype(np.float64))
    if law is not None and not initializer.is_constant:
        return False
    drawn = np.empty(math.prod(layout.shape))
    initializer.fill(drawn, Stream(0, "rows"), layout)
    return not bool(_rows(drawn.reshape(layout.shape), axis).any(1).all())


def _rows(values: Array, axis: int | None) -> Array:
    """The values as a matrix with one row for each norm."""
    if axis is None:
        return values.reshape(1, -1)
    moved = np.moveaxis(values, axis, 0)
    return moved.reshape(len(moved), -1)


def _summed(rows: Array) -> Array:
    """The sum of the squares of each row, in an order of its own: the same bits on any processor."""
    if rows.dtype == np.uint16:  # the bits of bfloat16
        rows = (rows.astype(np.uint32) << 16).view(np.float32)
    squares = np.square(rows.astype(np.float64))
    while squares.shape[1] > 1:
        half = squares.shape[1] // 2
        rest = squares[:, 2 * half :]
        squares = np.concatenate([squares[:, :half] + squares[:, half : 2 * half], rest], axis=1)
    return np.asarray(squares.sum(axis=1))
