"""Sparse orthogonal: a matrix that keeps the length of every signal, with few non-zero weights.

Sparse random matrices keep the mean length of signals as dense ones do, but their lengths vary more:
a unit that sums ten terms says less than one that sums a thousand. An orthogonal one keeps each length
exactly, however few weights it has, so that sparse networks start as well conditioned as dense ones.

Use it for deep plain stacks and recurrent weights that start sparse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, store
from isoinit.initializers.patterns import Fixed, Kept, Pattern
from isoinit.initializers.patterns.rotations import Entries, rotations
from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.sparse import DENSITY, SparseInitializer

MIRRORS = ("none", "both", "out", "in")


@dataclass(frozen=True)
class SparseOrthogonal(SparseInitializer):
    """`gain` times a matrix with orthonormal rows or columns, of which a share `density` is non-zero.

    Use it for deep plain stacks and recurrent weights that start sparse. Not for isometry of a
    ReLU network by itself: there its mirrored form keeps the signal, as `LooksLinear` does.

    Args:
        density: the share of non-zero weights, in (0, 1]; a unit keeps one at least. Units keep about
            as many weights each, not exactly.
        gain: the length of the shorter side's vectors.
        mirror: "none"; or as in `LooksLinear`: "both" for [[W, -W], [-W, W]], "out" for [W; -W], "in"
            for [W, -W], with W of half the size and this density.

    Where the sides differ, the shorter one is orthonormal: a part of the rows or columns of a square
    matrix of the longer side. Each packed block gets a matrix of its own.

    Source: Esguerra Narvaez et al. 2024 (products of Givens rotations); mirrors: Balduzzi et al.
    2017, section 4.

    Raises:
        ArgumentError: for a value out of range; on filling a vector, a lookup table, or an odd number
            of units to mirror.

    Example:
        >>> import numpy as np
        >>> from isoinit._drawing.streams import Stream
        >>> from isoinit.initializers.scale import fans
        >>> weight = SparseOrthogonal(0.25).draw(Stream(0, "weight"), fans.linear((16, 16)))
        >>> int((weight != 0).sum()), bool(np.allclose(weight @ weight.T, np.eye(16)))
        (64, True)
    """

    density: float = DENSITY
    gain: float = 1.0
    mirror: str = "none"
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)

    def __post_init__(self) -> None:
        self._require("density", low=0, high=1, above=True)
        self._require("gain", low=0, above=True)
        if self.mirror not in MIRRORS:
            raise ArgumentError(
                f"SparseOrthogonal(mirror={self.mirror!r}): expected one of {', '.join(MIRRORS)}"
            )

    @property
    def rule(self) -> Pattern:
        """About as many inputs for every unit."""
        return Fixed(self.density)

    def sides(self, layout: Layout) -> tuple[int, int]:
        """The size of W: outputs, and inputs times taps, each halved where it is mirrored."""
        self._require_map(layout)
        if layout.kind == "embedding":
            raise ArgumentError(f"{self} is for matrices, not for lookup tables. Use Sparse()")
        _, n_out, n_in, taps = layout.maps_shape
        sides = {"none": (1, 1), "both": (2, 2), "out": (2, 1), "in": (1, 2)}[self.mirror]
        if n_out % sides[0] or n_in * taps % sides[1]:
            raise ArgumentError(
                f"{self} pairs each unit with its negative and needs an even number of units, "
                f"found {n_out} outputs and {n_in * taps} inputs in shape {layout.shape}"
            )
        return n_out // sides[0], n_in * taps // sides[1]

    def std_for(self, layout: Layout) -> float:
        """The root mean square of all elements, zeros included: gain / sqrt(longer side of W)."""
        return self.gain / math.sqrt(max(self.sides(layout)))

    def largest_for(self, layout: Layout) -> float:
        """Return the gain: no element of an orthonormal vector is larger than 1."""
        return self.gain

    def share_for(self, layout: Layout) -> float:
        """Return the density, or that of one weight a unit."""
        return max(self.density, 1 / max(self.sides(layout)))

    def draw_kept(self, stream: Stream, layout: Layout, dtype: np.dtype[Any]) -> tuple[Kept, Array]:
        """One matrix a block, cut to its sides."""
        n_out, n_in = self.sides(layout)
        stack, size = layout.maps_shape[0], n_in * (2 if self.mirror in ("both", "in") else 1)
        blocks = [self._block(stream.child(f"block/{b}"), n_out, n_in) for b in range(stack)]
        counts = np.concatenate([count for count, _, _ in blocks])
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        columns = np.concatenate([column for _, column, _ in blocks]).astype(np.int32)
        values = np.empty(len(columns), dtype)
        store(np.concatenate([value for _, _, value in blocks]), values)
        return Kept(columns, starts, size), values

    def _block(self, stream: Stream, n_out: int, n_in: int) -> tuple[Array, Array, Array]:
        """The counts, columns and values of one block's rows, mirrored."""
        n = max(n_out, n_in)
        wanted = max(round(self.density * n), 1) * n
        row, column, value = _cut(rotations(stream, n, wanted), n, n_out, n_in)
        value = self.gain * value
        if self.mirror in ("both", "in"):
            row, value = np.repeat(row, 2), np.repeat(value, 2)
            column, value = np.repeat(column, 2), value.copy()
            column[1::2] += n_in
            value[1::2] *= -1
            order = np.lexsort((column, row))
            row, column, value = row[order], column[order], value[order]
        counts = np.bincount(row, minlength=n_out)
        if self.mirror in ("both", "out"):
            counts = np.concatenate([counts, counts])
            column, value = np.concatenate([column, column]), np.concatenate([value, -value])
        return counts, column, value


def _cut(entries: Entries, n: int, n_out: int, n_in: int) -> tuple[Array, Array, Array]:
    row, column = np.divmod(entries.places, n)
    inside = (row < n_out) & (column < n_in)
    return row[inside], column[inside], entries.values[inside]
