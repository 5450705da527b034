"""N:M: of every M neighbouring inputs a unit keeps N."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.patterns.base import Kept, Pattern, cover, regular, top


@dataclass(frozen=True)
class NOfM(Pattern):
    """N of every M inputs in a row: 2:4 is what GPUs since NVIDIA's Ampere multiply faster.

    Source: Mishra et al. 2021 (2:4), Zhou et al. 2021 (N:M).
    """

    n: int
    m: int

    @property
    def share(self) -> float:
        """N/M."""
        return self.n / self.m

    def count(self, rows: int, size: int) -> float:
        """N/M of the inputs.

        Raises:
            ArgumentError: unless M divides the number of inputs.
        """
        if size % self.m:
            raise ArgumentError(
                f"the pattern {self.n}:{self.m} needs a number of inputs that is divisible by "
                f"{self.m}, found {size}. Use another M, or the pattern 'fixed'"
            )
        return size // self.m * self.n

    def draw(self, stream: Stream, stack: int, rows: int, size: int) -> Kept:
        """Every choice is as likely in every group."""
        self.count(rows, size)
        groups = size // self.m
        chosen = cover(stream, stack * groups, rows, self.m, self.n).astype(np.int64)
        chosen = chosen.reshape(stack, groups, rows, self.n).transpose(0, 2, 1, 3)
        chosen = chosen + self.m * np.arange(groups)[:, None]
        return regular(chosen.reshape(stack * rows, groups * self.n), size)

    def largest(self, weights: npt.NDArray[Any], stack: int) -> Kept:
        """The largest N of every M."""
        rows, size = weights.shape
        self.count(rows // stack, size)
        groups = np.abs(weights).reshape(rows, size // self.m, self.m)
        chosen = top(groups, self.n) + self.m * np.arange(size // self.m)[:, None]
        return regular(chosen.reshape(rows, -1), size)
