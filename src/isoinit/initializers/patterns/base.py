"""What a pattern is, and what it gives: the places of the weights that are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.scale.fans import Layout

Columns = npt.NDArray[np.int32]
Starts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Kept:
    """The places of the weights that are kept, row by row (compressed sparse rows).

    Attributes:
        columns: the kept columns of row 0, then of row 1, and so on: (kept,). The numbers of a
            parameter's stream belong to them in this order, which within a row is that of the draw;
            a pattern's `order` sorts it.
        starts: where each row begins in `columns`: (rows + 1,).
        size: how many columns there are.
    """

    columns: Columns
    starts: Starts
    size: int

    @property
    def counts(self) -> Starts:
        """How many weights each row keeps: (rows,)."""
        return np.diff(self.starts)

    @property
    def rows(self) -> npt.NDArray[np.int32]:
        """The row of every kept weight: (kept,)."""
        return np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), self.counts)

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """What sorts the columns within their rows."""
        counts = self.counts
        if counts.size and (counts == counts[0]).all():  # much faster than by two keys
            rows = self.columns.reshape(len(counts), -1)
            within = np.argsort(rows, axis=1)
            return (within + self.starts[:-1, None]).reshape(-1)
        return np.lexsort((self.columns, self.rows))


@dataclass(frozen=True)
class Pattern(ABC):
    """A rule for which weights are kept; a frozen dataclass whose fields are its options."""

    @property
    @abstractmethod
    def share(self) -> float:
        """The density that it was asked for."""

    @abstractmethod
    def count(self, rows: int, size: int) -> float:
        """How many of `size` inputs a unit keeps (expects to keep, where units differ).

        Raises:
            ArgumentError: if a matrix of this shape cannot have the pattern.
        """

    def fewest(self, rows: int, size: int) -> int:
        """Return how many inputs the unit of the fewest keeps.

        Raises:
            ArgumentError: as `count`.
        """
        return int(self.count(rows, size))

    @abstractmethod
    def draw(self, stream: Stream, stack: int, rows: int, size: int) -> Kept:
        """Draw the pattern of `stack` matrices (rows, size), one below the other.

        Raises:
            ArgumentError: as `count`.
        """

    @abstractmethod
    def largest(self, weights: npt.NDArray[Any], stack: int) -> Kept:
        """Keep the weights of largest magnitude of `stack` matrices (all rows, size).

        Raises:
            ArgumentError: as `count`.
        """


def shape_of(layout: Layout) -> tuple[int, int, int]:
    """The (stack, rows, size) that a parameter's pattern is drawn for.

    A row is a unit with all that it sums: inputs times taps. Of a lookup table, which sums nothing, it
    is a table's row with the numbers that it holds.

    Raises:
        ArgumentError: for a vector.
    """
    if not layout.is_map:
        raise ArgumentError(
            f"a vector of shape {layout.shape} has no inputs to select, so it cannot be sparse. "
            "Keep it dense"
        )
    if layout.kind == "embedding":
        return 1, layout.shape[0], layout.shape[1]
    stack, n_out, n_in, taps = layout.maps_shape
    return stack, n_out, n_in * taps


def share_of(density: float, size: int) -> int:
    """The integer of `size` that a density means: to the nearest, and one at least."""
    return min(max(round(density * size), 1), size)


def top(importance: npt.NDArray[Any], count: int) -> npt.NDArray[np.intp]:
    """Where the `count` largest numbers along the last axis are, sorted by place."""
    first = importance.shape[-1] - count
    return np.sort(np.argpartition(importance, first, axis=-1)[..., first:], axis=-1)


def regular(columns: npt.NDArray[np.integer], size: int) -> Kept:
    """What rows that keep the same number of weights each are: from (rows, count)."""
    rows, count = columns.shape
    starts = np.arange(rows + 1, dtype=np.int64) * count
    return Kept(np.ascontiguousarray(columns, np.int32).reshape(-1), starts, size)


def cover(stream: Stream, stack: int, rows: int, size: int, count: int) -> npt.NDArray[np.uint32]:
    """`count` of `size` columns for each row, every set of them as likely, and no column left out.

    The columns of each matrix are dealt to its rows in random order, as evenly as can be, and
    the rest of each row is chosen from what it was not dealt. By itself a row is a uniformly random
    subset; together the rows miss no column, unless all of them keep fewer weights than there are.

    Returns:
        (stack, rows, count), the order within a row of no meaning.
    """
    if not 0 < count <= size < 2**31:
        raise ArgumentError(
            f"each row has {size} weights and would keep {count}; expected 1 to {size}, and fewer "
            "than 2**31"
        )
    own = min(count, -(-size // max(rows, 1)))
    dealt = np.argsort(
        stream.child("deal").words(0, stack * size).reshape(stack, size), kind="stable"
    )
    hands = (np.arange(rows * own) % size).reshape(rows, own)
    owned = np.sort(dealt[:, hands].astype(np.uint32), axis=2)  # (stack, rows, own)
    rest = stream.subsets(stack * rows, size - own, count - own).reshape(stack, rows, count - own)
    for column in np.moveaxis(owned, 2, 0):  # those not dealt are numbered without the dealt ones
        rest += rest >= column[:, :, None]
    return np.concatenate([owned, rest], axis=2)
