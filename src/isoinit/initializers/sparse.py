"""Sparse: a small share of the weights starts non-zero, scaled so that the signal keeps its size.

Martens (2010, section 5) gave each unit 15 incoming weights, so that a unit's input does not grow
with the layer's width and units start different from each other. A unit that sums k terms and not
fan_in needs Var(w) = gain²/k for the same signal: the dense rule's scale would shrink it by
sqrt(density) a layer, to nothing in a deep network (Evci et al. 2022, section 3).

Use it for very large layers, and before training with a fixed sparsity. The tensor stays dense in
memory here. Densities so low that most inputs reach no unit lose information: keep k at 10 or more
unless the layer is much wider than its input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, WholeInitializer
from isoinit.random import Stream
from isoinit.scale.fans import Layout

PATTERNS = ("fixed", "random")


@dataclass(frozen=True)
class Sparse(WholeInitializer):
    """Normal weights on a random share `density` of the connections, zero elsewhere.

    Use it for very large layers, and before training with a fixed sparsity. Not for narrow layers:
    of the inputs, a share of about exp(-k · outputs/inputs) reaches no unit.

    Args:
        density: the share of non-zero weights, in (0, 1].
        connections: non-zero weights a unit, in place of `density`: 15 in Martens' recipe. Units
            with fewer inputs take all of them.
        pattern: "fixed" gives each unit the same number of inputs; "random" keeps each weight with
            probability `density`, so that units differ and a few may have none.
        gain: the activation's gain; sqrt(2) for ReLU, `isoinit.gain(function)` for any other.

    Non-zero weights are N(0, gain²/k), with k the (expected) number of inputs of a unit.

    Source: Martens 2010, section 5; scale: Evci et al. 2022.

    Raises:
        ArgumentError: for a density outside (0, 1], connections below 1, connections with the
            random pattern, an unknown pattern, or a gain not above 0; on filling a vector.

    Example:
        >>> from isoinit.scale import fans
        >>> Sparse(density=0.25).inputs(fans.linear((10, 400)))
        100
    """

    density: float = 0.1
    connections: int | None = None
    pattern: str = "fixed"
    gain: float = 1.0

    def __post_init__(self) -> None:
        self._require("density", low=0, high=1, above=True)
        self._require("gain", low=0, above=True)
        if self.pattern not in PATTERNS:
            raise ArgumentError(
                f"Sparse(pattern={self.pattern!r}): expected one of {', '.join(PATTERNS)}"
            )
        if self.connections is not None:
            if self.pattern == "random":
                raise ArgumentError(
                    "Sparse(connections=..., pattern='random'): a random pattern has no fixed "
                    "number of connections; give a density, or use pattern='fixed'"
                )
            self._require("connections", low=1, whole=True)

    def inputs(self, layout: Layout) -> int:
        """The number of non-zero weights a unit has (expects, for the random pattern)."""
        self._require_map(layout)
        _, _, n_in, taps = layout.maps_shape
        wanted = self.connections or round(self.density * n_in * taps)
        return min(max(wanted, 1), n_in * taps)

    def std_for(self, layout: Layout) -> float:
        """The root mean square of all elements, zeros included: gain/sqrt(fan_in).

        Sparse or dense, the sum over a unit's inputs has the same variance.
        """
        self._require_map(layout)
        return self.gain / math.sqrt(layout.fan_in)

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """Normals where the mask, drawn from a stream of its own, is set."""
        self._require_map(layout)
        stack, n_out, n_in, taps = layout.maps_shape
        units, size = stack * n_out, n_in * taps
        words = stream.child("mask").words(0, units * size).reshape(units, size)
        if self.pattern == "fixed":
            mask, kept = _smallest(words, self.inputs(layout)), float(self.inputs(layout))
        else:
            mask, kept = words < self.density * 2.0**32, self.density * size
        values = np.empty(units * size, np.float32)
        # The fans count a unit's true inputs: a strided transposed convolution sums fewer than its
        # kernel holds, sparse or not.
        std = self.gain / math.sqrt(layout.fan_in * kept / size)
        stream.normal(values, 0, 0.0, std)
        maps = np.where(mask, values.reshape(units, size), 0).astype(np.float64)
        return layout.from_maps(maps.reshape(stack, n_out, n_in, taps))


def _smallest(words: npt.NDArray[np.uint32], k: int) -> npt.NDArray[np.bool_]:
    """Mark the k smallest words of each row: a uniformly random subset of size k.

    Equal words are told apart by their position, so that the result never depends on the sort.
    """
    size = words.shape[1]
    if k == size:
        return np.ones(words.shape, np.bool_)
    ranked = (words.astype(np.uint64) << np.uint64(32)) | np.arange(size, dtype=np.uint64)
    border = np.partition(ranked, k - 1, axis=1)[:, k - 1 : k]
    return np.asarray(ranked <= border)
