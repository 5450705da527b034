"""Fixed: every unit keeps the same number of inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._drawing.streams import Stream
from isoinit.initializers.patterns.base import Kept, Pattern, cover, regular, share_of, top


@dataclass(frozen=True)
class Fixed(Pattern):
    """The same number of inputs for every unit, anywhere: constant fan-in.

    Units that sum equally many terms have signals of equal size, and rows of equal length keep the
    work of a product even. The default.

    Source: Martens 2010, section 5.
    """

    density: float = 0.1
    connections: int | None = None

    @property
    def share(self) -> float:
        """The density."""
        return self.density

    def count(self, rows: int, size: int) -> float:
        """`connections` or the share of inputs; all of them if there are no more."""
        wanted = self.connections or share_of(self.density, size)
        return min(wanted, size)

    def draw(self, stream: Stream, stack: int, rows: int, size: int) -> Kept:
        """Every set of inputs is as likely for each unit."""
        columns = cover(stream, stack, rows, size, int(self.count(rows, size)))
        return regular(columns.reshape(stack * rows, -1), size)

    def largest(self, weights: npt.NDArray[Any], stack: int) -> Kept:
        """The largest of each unit."""
        rows, size = weights.shape
        return regular(top(np.abs(weights), int(self.count(rows // stack, size))), size)
