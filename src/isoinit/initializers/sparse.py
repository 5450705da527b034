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
from typing import ClassVar

import numpy as np

from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, MapsInitializer
from isoinit.random import Stream
from isoinit.scale.fans import Layout

PATTERNS = ("fixed", "random")

_CACHED = 2**17  # elements that stay in the cache between zeros and values


@dataclass(frozen=True)
class Sparse(MapsInitializer):
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
    rounds: ClassVar[bool] = True
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)

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

    def write(self, maps: Array, stream: Stream, layout: Layout) -> None:
        """Normals, and zeros at places drawn from a stream of their own.

        Whichever are fewer of a unit's weights, the zeros or the others, have their places drawn.
        """
        stack, n_out, n_in, taps = maps.shape
        units, size = stack * n_out, n_in * taps
        weights, mask = maps.reshape(-1), stream.child("mask")
        fixed = self.pattern == "fixed"
        kept = self.inputs(layout) if fixed else self.density * size
        # The fans count a unit's true inputs: a strided transposed convolution sums fewer than its
        # kernel holds, sparse or not.
        std = self.gain / math.sqrt(layout.fan_in * kept / size)
        if not fixed:
            stream.normal(weights, std=std)
            weights[mask.words(0, weights.size) >= self.density * 2.0**32] = 0
        elif 2 * kept > size:
            stream.normal(weights, std=std)
            weights[_flat(mask.subsets(units, size, size - kept), size)] = 0
        else:
            values = np.empty(units * kept, weights.dtype)
            stream.normal(values, std=std)
            values, places = values.reshape(units, kept), mask.subsets(units, size, kept)
            together = max(1, _CACHED // size)
            for first in range(0, units, together):
                some = slice(first, first + together)
                piece = weights[first * size : (first + together) * size]
                piece[:] = 0
                piece[_flat(places[some], size)] = values[some]


def _flat(places: Array, size: int) -> Array:
    """Places in runs of `size` elements, one run a row, as indices into all of them."""
    flat = places.astype(np.intp)
    flat += np.arange(len(places))[:, None] * size
    return flat
