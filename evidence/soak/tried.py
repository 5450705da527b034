"""What a trial did, and what was lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Tried:
    """The rounds of a trial.

    Attributes:
        what: one round, in words.
        rounds: how many there were.
        met: how many of them the disturbance met, such as interrupts before the end.
        lost: what did not hold, each with how often.
    """

    what: str
    rounds: int = 0
    met: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    def lose(self, why: str) -> None:
        """Note that something did not hold."""
        self.lost[" ".join(why.split())[:200]] += 1


def rounds(tried: Tried, seconds: float) -> Iterator[int]:
    """Count the rounds of a trial until its time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield tried.rounds
        tried.rounds += 1
