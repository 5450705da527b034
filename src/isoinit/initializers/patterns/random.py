"""Random: each weight is kept or not by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._drawing.streams import Stream
from isoinit.initializers.patterns.base import Kept, Pattern, top

_TOGETHER = 2**22  # words that are drawn at once


@dataclass(frozen=True)
class Random(Pattern):
    """Each weight is kept with probability `density`, so that units have different numbers of inputs.

    The random graph of Erdős and Rényi. One word is drawn for each weight, kept or not: 2³⁰ a second,
    so for the very largest layers use "fixed". Rows and columns that come out empty are given one
    weight, in place of one that its row and its column can spare.

    Source: Mocanu et al. 2018, section "Sparse Evolutionary Training".
    """

    density: float = 0.1

    @property
    def share(self) -> float:
        """The density."""
        return self.density

    def count(self, rows: int, size: int) -> float:
        """The expected number, and one at least."""
        return max(self.density * size, min(1.0, size))

    def fewest(self, rows: int, size: int) -> int:
        """Return one, which an empty unit is given."""
        return min(1, size)

    def draw(self, stream: Stream, stack: int, rows: int, size: int) -> Kept:
        """Weights are kept independently, but for the few that mend empty rows and columns."""
        total = stack * rows
        together = max(1, _TOGETHER // max(size, 1))
        found = []
        for first in range(0, total, together):
            words = stream.words(first * size, min(together, total - first) * size)
            found.append(np.flatnonzero(words < self.density * 2.0**32) + first * size)
        places = np.concatenate(found) if found else np.empty(0, np.int64)
        places = _mended(places, stream, stack, rows, size, columns=self.density * rows >= 1)
        return _kept(places, total, size)

    def largest(self, weights: npt.NDArray[Any], stack: int) -> Kept:
        """The largest of all, and of each unit one at least."""
        rows, size = weights.shape
        importance = np.abs(weights)
        importance[np.arange(rows), importance.argmax(1)] = np.inf
        wanted = max(round(self.density * weights.size), rows)
        return _kept(top(importance.reshape(-1), wanted), rows, size)


def _kept(places: npt.NDArray[np.int64], rows: int, size: int) -> Kept:
    """Flat places, sorted, as rows."""
    row, column = np.divmod(places, max(size, 1))
    starts = np.searchsorted(row, np.arange(rows + 1))
    return Kept(column.astype(np.int32), starts.astype(np.int64), size)


def _mended(
    places: npt.NDArray[np.int64],
    stream: Stream,
    stack: int,
    rows: int,
    size: int,
    *,
    columns: bool,
) -> npt.NDArray[np.int64]:
    """Flat places, sorted, with one in each row, and in each column if there are enough for that."""
    row, column = np.divmod(places, max(size, 1))
    column += row // max(rows, 1) * size  # the columns of a stack's matrices are counted on
    added = []
    bare = np.setdiff1d(np.arange(stack * rows), row)
    added.append(bare * size + _below(stream.child("row"), bare, size))
    if columns:
        filled = np.concatenate([column, bare // max(rows, 1) * size + added[0] % max(size, 1)])
        bare = np.setdiff1d(np.arange(stack * size), filled)
        which, at = np.divmod(bare, max(size, 1))
        added.append((which * rows + _below(stream.child("column"), bare, rows)) * size + at)
    extra = np.concatenate(added)
    if not extra.size:
        return places
    needed = np.zeros(len(places), np.bool_)
    for lines in (row, column):
        needed[np.unique(lines, return_index=True)[1]] = True
    spare = np.flatnonzero(~needed)
    luck = stream.child("spare").words(0, len(places))[spare]
    gone = spare[np.argsort(luck, kind="stable")[: len(extra)]]
    return np.unique(np.concatenate([np.delete(places, gone), extra]))


def _below(stream: Stream, lines: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """A random number below `size` for each line: a function of the line alone."""
    if not lines.size:
        return lines
    words = stream.words(0, int(lines.max()) + 1)[lines].astype(np.uint64)
    below: npt.NDArray[np.int64] = (words * np.uint64(size) >> np.uint64(32)).astype(np.int64)
    return below
