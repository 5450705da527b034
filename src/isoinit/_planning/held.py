"""What stands for the values of a parameter that a plan leaves as they are."""

from __future__ import annotations

from dataclasses import dataclass

from isoinit.initializers import Normal


@dataclass(frozen=True)
class Held(Normal):
    """Values of this mean and standard deviation that are there already.

    Attributes:
        alike: of a table, the mean product of two of its rows in the same column.
    """

    alike: float = 0.0
