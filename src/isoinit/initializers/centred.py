"""Centred: an orthogonal matrix whose rows sum to zero, so that a mean that all inputs share is lost.

Behind sigmoid, softplus or |z| all units have the same large mean. Random weights carry it along: it
counts towards the size of the signal, but it is the same for all examples, and with depth it dominates
their differences. Weights that sum to zero take it out, and a layer keeps V_w·Var[φ] + V_b in the
place of V_w·E[φ²] + V_b.

So every activation has a critical point. The Gaussian Poincaré inequality says, for u ~ N(0, q),

    Var[φ(u)] ≤ q·E[φ'(u)²]                              (Nash 1958; Chernoff 1981)

and at V_w = 1/E[φ'²], where the gradient keeps its size, the bias variance V_b = q - V_w·Var[φ] that
keeps the signal's is at least zero: for every continuous φ, at every q. With plain weights it would
have to be negative wherever E[φ]² is large.

The rows are spanned by a fixed orthonormal basis of what is orthogonal to the ones: the last n - 1
rows of the reflection that takes the first axis to -(1, …, 1)/√n. A Haar matrix of n - 1 columns,
times that basis, is uniform over all such matrices, and costs one sum and n subtractions a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isoinit._drawing.haar import haar
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, MapsInitializer
from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.zero import centre_of

TAPS = ("all", "centre")


@dataclass(frozen=True)
class Centred(MapsInitializer):
    """`gain` times a matrix with orthonormal rows that sum to zero, uniform over all such.

    Use it for deep plain stacks of activations with a large mean: sigmoid, softplus, |x|, exp(-x²).
    Not where a norm layer or a residual sum stands between, and not where the mean over the inputs
    is what a layer shall read.

    Args:
        gain: the length of the rows. With more outputs than the inputs' n - 1 free directions, it is
            the singular value of those directions instead, and W·Wᵀ is a projection.
        taps: of a convolution, "all" for weights at every tap, which sum to zero over the inputs at
            each tap by itself, so that padding takes nothing out of balance; or "centre" for the
            centre tap alone, an isometry of all that is centred, as `DeltaOrthogonal` is.

    Each packed block gets a matrix of its own, as in `Orthogonal`.

    Source: Brock et al. 2021, section 3.1 (scaled weight standardization); Huang et al. 2017
    (centred weight normalization); orthogonal: Saxe et al. 2014; centre tap: Xiao et al. 2018.

    Raises:
        ArgumentError: unless `gain` is finite and above 0; for other `taps`; on filling a vector, or
            a layer of one input, whose only weight would be zero.

    Example:
        >>> from isoinit._drawing.streams import Stream
        >>> from isoinit.initializers.scale import fans
        >>> weight = Centred().draw(Stream(0, "weight"), fans.linear((3, 8)))
        >>> bool(np.allclose(weight.sum(1), 0)), bool(np.allclose(weight @ weight.T, np.eye(3)))
        (True, True)
    """

    gain: float = 1.0
    taps: str = "all"
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)
    by_map: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._require("gain", low=0, above=True)
        if self.taps not in TAPS:
            raise ArgumentError(f"Centred(taps={self.taps!r}): expected one of {', '.join(TAPS)}")

    def rank(self, layout: Layout) -> int:
        """Return how many directions of its inputs a map keeps: at most (n - 1)·taps."""
        self._require_map(layout)
        _, n_out, n_in, taps = layout.maps_shape
        if n_in < 2:
            raise ArgumentError(
                f"{self} needs two or more inputs, found {n_in} in shape {layout.shape}, because "
                "the weights of each unit sum to zero. Use Orthogonal()"
            )
        return min(n_out, (n_in - 1) * (1 if self.taps == "centre" else taps))

    def std_for(self, layout: Layout) -> float:
        """Return gain·sqrt(rank / elements): each direction adds gain² to the sum of squares."""
        _, n_out, n_in, taps = layout.maps_shape
        return self.gain * math.sqrt(self.rank(layout) / max(n_out * n_in * taps, 1))

    def largest_for(self, layout: Layout) -> float:
        """Return the gain: no singular value is larger."""
        return self.gain

    def share_for(self, layout: Layout) -> float:
        """Return the share of the taps that are used."""
        return 1 / layout.maps_shape[3] if self.taps == "centre" else 1.0

    def write(self, maps: Array, stream: Stream, layout: Layout, first: int = 0) -> None:
        """Write one Haar matrix a block, of one input less, turned away from the ones."""
        stack, n_out, n_in, taps = maps.shape
        if self.taps == "centre" and layout.taps:
            centre = centre_of(layout)
            maps[:] = 0
            maps = maps[..., centre : centre + 1]
            taps = 1
        free = np.empty((stack, n_out, (n_in - 1) * taps), maps.dtype)
        haar(free, stream, self.gain, first)
        for map_, rows in zip(maps, free.reshape(stack, n_out, n_in - 1, taps), strict=True):
            # A cumulative sum has but one order, so that the bits are the same everywhere.
            sums = np.cumsum(rows, axis=1, dtype=np.float64)[:, -1]
            map_[:, 0] = -sums / math.sqrt(n_in)
            map_[:, 1:] = rows - (sums / (n_in + math.sqrt(n_in)))[:, None]
