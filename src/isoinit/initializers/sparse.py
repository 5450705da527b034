"""Sparse: a small share of the weights starts non-zero, scaled so that the signal keeps its size.

Martens (2010, section 5) gave each unit 15 incoming weights, so that a unit's input does not grow
with the layer's width and units start different from each other. A unit that sums k terms and not
fan_in needs Var(w) = gain²/k for the same signal: the dense rule's scale would shrink it by
sqrt(density) a layer, to nothing in a deep network (Evci et al. 2022, section 3).

Use it for very large layers, and before training with a fixed sparsity. On a plain parameter zeros
take as much memory as other numbers; `isoinit.sparse.convert` stores and computes what is kept alone.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from isoinit._drawing.streams import Stream, laws
from isoinit.initializers.base import Array, MapsInitializer, store
from isoinit.initializers.patterns import Kept, Pattern, parse, shape_of
from isoinit.initializers.scale.fans import Layout

_CACHED = 2**17  # elements that stay in the cache between zeros and values
DENSITY = 0.1


class SparseInitializer(MapsInitializer):
    """An initializer that says which weights it keeps, and draws nothing for the others."""

    rounds: ClassVar[bool] = True

    @property
    @abstractmethod
    def rule(self) -> Pattern:
        """Which weights are kept, as a pattern that trained weights can be cut to."""

    @abstractmethod
    def draw_kept(self, stream: Stream, layout: Layout, dtype: np.dtype[Any]) -> tuple[Kept, Array]:
        """The kept weights' places and values; nothing of the parameter's whole size is made.

        Args:
            stream: the parameter's random numbers.
            layout: one that `std_for` accepts.
            dtype: float32, float64 or float16, or uint16, which stands for bfloat16.
        """

    def write(self, maps: Array, stream: Stream, layout: Layout, first: int = 0) -> None:
        """Zeros, and the kept weights at their places."""
        kept, values = self.draw_kept(stream, layout, maps.dtype)
        table = layout.kind == "embedding"
        weights = np.empty(math.prod(layout.shape), maps.dtype) if table else maps.reshape(-1)
        size, rows = kept.size, len(kept.starts) - 1
        flat = kept.columns + kept.rows.astype(np.intp) * size
        together = max(1, _CACHED // max(size, 1))
        for first in range(0, rows, together):
            last = min(first + together, rows)
            some = slice(kept.starts[first], kept.starts[last])
            piece = weights[first * size : last * size]
            piece[:] = 0
            piece[flat[some] - first * size] = values[some]
        if table:
            maps[:] = layout.to_maps(weights.reshape(layout.shape))


@dataclass(frozen=True)
class Sparse(SparseInitializer):
    """Normal weights on a share `density` of the connections, zero elsewhere.

    Use it for very large layers, and before training with a fixed sparsity. Every unit keeps some
    input, and every input reaches some unit if there are enough weights for that.

    Args:
        density: the share of non-zero weights, in (0, 1]; by default 0.1, or what an N:M pattern says.
        connections: non-zero weights a unit, in place of `density`: 15 in Martens' recipe. Units
            with fewer inputs take all of them.
        pattern: "fixed" gives each unit the same number of inputs; "random" keeps each weight with
            probability `density`, so that units differ; "block16" (or another side) keeps whole
            squares; "2:4" (N:M) keeps N of every M neighbouring inputs.
        gain: the activation's gain; sqrt(2) for ReLU, `isoinit.gain(function)` for any other.

    Non-zero weights are N(0, gain²/k), with k the number of inputs that their unit keeps. Of a lookup
    table it is a row that keeps its share of numbers.

    Source: Martens 2010, section 5; scale by a unit's own inputs: Evci et al. 2022.

    Raises:
        ArgumentError: for a density outside (0, 1], connections below 1, an unknown pattern or one
            that they contradict, or a gain not above 0; on a vector, or a shape that blocks or N:M do
            not divide.

    Example:
        >>> from isoinit.initializers.scale import fans
        >>> Sparse(density=0.25).inputs(fans.linear((10, 400)))
        100
    """

    density: float | None = None
    connections: int | None = None
    pattern: str = "fixed"
    gain: float = 1.0
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)

    def __post_init__(self) -> None:
        if self.density is not None:
            self._require("density", low=0, high=1, above=True)
        self._require("gain", low=0, above=True)
        if self.connections is not None:
            self._require("connections", low=1, whole=True)
        _ = self.rule

    @property
    def rule(self) -> Pattern:
        """Which weights are kept."""
        return parse(self.pattern, self.density, self.connections, DENSITY)

    def inputs(self, layout: Layout) -> int:
        """The number of non-zero weights a unit has (expects, for the random pattern)."""
        _, rows, size = shape_of(layout)
        return round(self.rule.count(rows, size))

    def std_for(self, layout: Layout) -> float:
        """The root mean square of all elements, zeros included: gain/sqrt(fan_in).

        Sparse or dense, the sum over a unit's inputs has the same variance.
        """
        self._require_map(layout)
        self.inputs(layout)  # refuses a shape that the pattern does not divide
        return self.gain / math.sqrt(layout.fan_in)

    def largest_for(self, layout: Layout) -> float:
        """Return what the unit of the fewest inputs can draw at most."""
        _, rows, size = shape_of(layout)
        fewest = max(self.rule.fewest(rows, size), 1)
        return laws.NORMAL_MOST * self.gain / math.sqrt(layout.fan_in * fewest / max(size, 1))

    def share_for(self, layout: Layout) -> float:
        """Return the share of the weights that are kept."""
        _, rows, size = shape_of(layout)
        return self.rule.count(rows, size) / max(size, 1)

    def draw_kept(self, stream: Stream, layout: Layout, dtype: np.dtype[Any]) -> tuple[Kept, Array]:
        """Places from a stream of their own, and a normal number for each."""
        kept = self.rule.draw(stream.child("mask"), *shape_of(layout))
        values = np.empty(len(kept.columns), dtype)
        counts = kept.counts
        # The fans count a unit's true inputs: a strided transposed convolution sums fewer than its
        # kernel holds, sparse or not.
        stds = self.gain / np.sqrt(layout.fan_in * np.maximum(counts, 1) / max(kept.size, 1))
        if counts.size and (counts == counts[0]).all():
            stream.fill(values, laws.normal(0.0, float(stds[0]), np.dtype(np.float64)))
        else:
            normals = np.empty(len(values), np.float32)
            stream.normal(normals)
            store(np.repeat(stds, counts) * normals, values)
        return kept, values
