"""Blocks: a parameter that stores several, side by side, each with an initializer of its own.

JAX stacks the layers that a scan goes through along a first axis, and some libraries keep what reads
the input of a recurrent layer beside what reads its state. Each block is a parameter to the model, and
what one needs is not what the next one needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, Initializer, _as_data
from isoinit.initializers.scale.fans import Layout


@dataclass(frozen=True)
class Blocks(Initializer):
    """Fill blocks along one axis, each with its own initializer.

    Block i draws from the stream of the parameter's name with "[i]" behind it: as a parameter of that
    name would.

    Args:
        axis: the axis along which the blocks stand side by side.
        initializers: one for each block, in order.
        layouts: what the axes of each block mean; their sizes along `axis` add up to the parameter's.

    Raises:
        ArgumentError: unless there are as many layouts as initializers, of one shape but for `axis`;
            for a parameter of another shape.

    Example:
        >>> from isoinit import Ones, Zeros
        >>> from isoinit.initializers.scale.fans import vector
        >>> out = np.empty(5, np.float32)
        >>> blocks = Blocks(0, (Zeros(), Ones()), (vector((2,)), vector((3,))))
        >>> blocks.fill(out, Stream(0, "bias"), vector((5,)))
        >>> out
        array([0., 0., 1., 1., 1.], dtype=float32)
    """

    axis: int
    initializers: tuple[Initializer, ...]
    layouts: tuple[Layout, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "initializers", tuple(self.initializers))
        object.__setattr__(self, "layouts", tuple(self.layouts))
        if not self.layouts or len(self.layouts) != len(self.initializers):
            raise ArgumentError(
                f"Blocks: {len(self.initializers)} initializers and {len(self.layouts)} layouts; "
                "expected one initializer and one layout for each block"
            )
        rank = len(self.layouts[0].shape)
        rest = {(*one.shape[: self.axis], *one.shape[self.axis + 1 :]) for one in self.layouts}
        if not 0 <= self.axis < rank or len(rest) > 1:
            raise ArgumentError(
                f"Blocks(axis={self.axis}): expected layouts that have the same shape except "
                f"along this axis, found {', '.join(str(one.shape) for one in self.layouts[:4])}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the parameter."""
        first = self.layouts[0].shape
        total = sum(one.shape[self.axis] for one in self.layouts)
        return (*first[: self.axis], total, *first[self.axis + 1 :])

    @property
    def is_constant(self) -> bool:
        """Whether every block is."""
        return all(one.is_constant for one in self.initializers)

    @property
    def is_fixed(self) -> bool:
        """Whether every block is."""
        return all(one.is_fixed for one in self.initializers)

    def std_for(self, layout: Layout) -> float:
        """Return the root of the mean variance of the elements about their own block's mean."""
        self._require_shape(layout)
        return math.sqrt(self._mean([i.std_for(own) ** 2 for i, own in self._pairs()]))

    def mean_for(self, layout: Layout) -> float:
        """Return the mean of all elements."""
        self._require_shape(layout)
        return self._mean([i.mean_for(own) for i, own in self._pairs()])

    def largest_for(self, layout: Layout) -> float:
        """Return the largest bound of a block."""
        self._require_shape(layout)
        return max(i.largest_for(own) for i, own in self._pairs())

    def require_fit(self, layout: Layout, dtype: np.dtype[Any]) -> None:
        """Raise unless every block can be filled."""
        self._require_shape(layout)
        for initializer, own in self._pairs():
            initializer.require_fit(own, dtype)

    def scaled(self, factor: float) -> Blocks:
        """Return the same with every block scaled."""
        return replace(self, initializers=tuple(i.scaled(factor) for i in self.initializers))

    def fill(self, out: Array, stream: Stream, layout: Layout, start: int = 0) -> None:
        """Draw all blocks, and keep what was asked for."""
        self._require_shape(layout)
        whole = np.empty(self.shape, out.dtype)
        self._fill_all(whole, stream, Piece.whole(self.shape))
        out[:] = whole.reshape(-1)[start : start + out.size]

    def fill_piece(self, out: Array, stream: Stream, layout: Layout, piece: Piece) -> None:
        """Write a part of the parameter: of each block, the part that lies in it."""
        self._require_shape(layout)
        if piece.shape != self.shape:  # of the flattened parameter
            first, last = piece.rows
            rows = np.empty(last - first, out.dtype)
            self.fill(rows, stream, layout, first)
            piece.take(rows, out.reshape(piece.held))
            return
        self._fill_all(out.reshape(piece.held), stream, piece)

    def _fill_all(self, out: Array, stream: Stream, piece: Piece) -> None:
        begin = 0
        for index, (initializer, own) in enumerate(self._pairs()):
            end = begin + own.shape[self.axis]
            done = 0
            for first, last in piece.spans[self.axis]:
                low, high = max(first, begin), min(last, end)
                if low < high:
                    spans = list(piece.spans)
                    spans[self.axis] = ((low - begin, high - begin),)
                    part = Piece(own.shape, tuple(spans))
                    made = np.empty(math.prod(part.held), out.dtype)
                    named = replace(stream, name=f"{stream.name}[{index}]")
                    initializer.fill_piece(made, named, own, part)
                    at = done + low - first
                    where = (*[slice(None)] * self.axis, slice(at, at + high - low))
                    out[where] = made.reshape(part.held)
                done += last - first
            begin = end

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        return {
            "initializer": "Blocks",
            "axis": self.axis,
            "initializers": [one.to_dict() for one in self.initializers],
            "layouts": [_as_data(one) for one in self.layouts],
        }

    def __str__(self) -> str:
        return f"Blocks({', '.join(dict.fromkeys(map(str, self.initializers)))})"

    def _pairs(self) -> list[tuple[Initializer, Layout]]:
        return list(zip(self.initializers, self.layouts, strict=True))

    def _mean(self, values: list[float]) -> float:
        sizes = [math.prod(one.shape) for one in self.layouts]
        total = max(sum(sizes), 1)
        return sum(size * value for size, value in zip(sizes, values, strict=True)) / total

    def _require_shape(self, layout: Layout) -> None:
        if layout.shape != self.shape:
            raise ArgumentError(
                f"Blocks: the blocks together have shape {self.shape}, but the parameter has "
                f"shape {layout.shape}"
            )
