"""Blocks: whole squares of weights are kept, which dense products compute at full speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.patterns.base import Kept, Pattern, cover, regular, share_of, top


@dataclass(frozen=True)
class Blocks(Pattern):
    """Square blocks of `side` × `side` weights, the same number for each row of blocks.

    For large layers on hardware that multiplies dense tiles. Units of one block read the same inputs,
    so that at equal density it learns less than "fixed" does.

    Source: Gray, Radford, Kingma 2017 (block-sparse kernels).
    """

    side: int
    density: float = 0.1

    @property
    def share(self) -> float:
        """The density."""
        return self.density

    def count(self, rows: int, size: int) -> float:
        """The inputs of the kept blocks: one block at least.

        Raises:
            ArgumentError: unless blocks tile the matrix.
        """
        for what, number in (("units", rows), ("inputs", size)):
            if number % self.side:
                raise ArgumentError(
                    f"the number of {what} is {number}, which is not divisible by the block size "
                    f"{self.side}. Use smaller blocks, or the pattern 'fixed'"
                )
        return share_of(self.density, size // self.side) * self.side

    def draw(self, stream: Stream, stack: int, rows: int, size: int) -> Kept:
        """Every set of blocks is as likely for each row of blocks."""
        side, count = self.side, int(self.count(rows, size)) // self.side
        chosen = np.sort(cover(stream, stack, rows // side, size // side, count), axis=2)
        return self._spelled_out(chosen.reshape(-1, count), size)

    def largest(self, weights: npt.NDArray[Any], stack: int) -> Kept:
        """The blocks of the largest sum of squares in each row of blocks."""
        (rows, size), side = weights.shape, self.side
        count = int(self.count(rows // stack, size)) // side
        blocks = np.square(weights).reshape(rows // side, side, size // side, side)
        return self._spelled_out(top(blocks.sum((1, 3)), count), size)

    def _spelled_out(self, blocks: npt.NDArray[Any], size: int) -> Kept:
        """The weights of the kept blocks: (rows of blocks, count)."""
        columns = blocks[..., None].astype(np.int64) * self.side + np.arange(self.side)
        return regular(np.repeat(columns.reshape(len(blocks), -1), self.side, axis=0), size)
