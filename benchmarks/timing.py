"""What the topics share: a row of results, and how two calls are timed against each other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """One comparison: times in seconds; None for a peer that cannot do it; what else was found."""

    case: str
    peer: str
    ours_s: float
    peer_s: float | None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as long the peer takes."""
        return None if self.peer_s is None else self.peer_s / self.ours_s


def compare(
    case: str,
    ours: Callable[[], object],
    peer_name: str,
    peer: Callable[[], object],
    repeats: int = 7,
) -> Row:
    """The median time of both, in turns, so that a drift hits both."""
    try:
        peer()
    except (RuntimeError, NotImplementedError):
        return Row(case, peer_name, median(timed(ours) for _ in range(repeats)), None)
    pairs = [(timed(ours), timed(peer)) for _ in range(repeats)]
    return Row(case, peer_name, median(a for a, _ in pairs), median(b for _, b in pairs))


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes after another one of it.

    By then the other side's threads are asleep (OpenMP's wait awake for a while, and would take the
    processors), and its own are not.
    """
    call()
    return timed_first(call)


def timed_first(call: Callable[[], object]) -> float:
    """Seconds that a call takes, the first of its kind."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def emit(rows: list[Row]) -> None:
    """Hand rows to the process that asked for them: one line of JSON."""
    print(json.dumps([asdict(row) for row in rows]))
