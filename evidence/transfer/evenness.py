"""The slopes of one coordinate check, and whether they are even."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evidence.transfer.curves import slope
from evidence.transfer.settings import EVEN

BOUNDED = ("scores", "output")  # may fall with the width: an upper bound alone


@dataclass(frozen=True)
class Slopes:
    """One model under one scheme.

    Attributes:
        layers: how many.
        kinds: what each kind of layer is to the width: "input", "hidden", "scores" or "output".
        changes: by the number of steps, the kind of layer and the width.
    """

    layers: int
    kinds: Mapping[str, str]
    changes: Mapping[int, Mapping[str, Mapping[int, float]]]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Slopes:
        """Return those of a row; in a file its numbers as keys are text."""
        changes = {
            int(step): {
                name: {int(width): change for width, change in by_width.items()}
                for name, by_width in kinds.items()
            }
            for step, kinds in row["changes"].items()
        }
        return cls(row["layers"], row["kinds"], changes)

    def still(self, step: int) -> list[str]:
        """Return the kinds that do not change at some width, or not to a finite value."""
        return [
            name
            for name, by_width in self.changes[step].items()
            if not all(0 < change < math.inf for change in by_width.values())
        ]

    def moved(self, step: int) -> dict[str, Mapping[int, float]]:
        """Return the changes of all other kinds, by width."""
        still = self.still(step)
        return {n: by_width for n, by_width in self.changes[step].items() if n not in still}

    def slopes(self, step: int, *, bounded: bool | None = None) -> dict[str, float]:
        """Return the slope of every kind that changes, or of those that may fall, or may not."""
        return {
            name: slope(by_width)
            for name, by_width in self.moved(step).items()
            if bounded is None or bounded == self.is_bounded(name)
        }

    def is_bounded(self, name: str) -> bool:
        """Return whether a kind may fall with the width."""
        return self.kinds[name] in BOUNDED

    def uneven(self, step: int) -> dict[str, float]:
        """Return the slopes that are too large; those that may fall may not rise."""
        return {
            name: value
            for name, value in self.slopes(step).items()
            if (value if self.is_bounded(name) else abs(value)) > EVEN
        }
