"""One thread of a process at a time works on models.

A run lends a model other tensors, seeds the random number generators and switches `torch.compile`
off: of two at once each would meet what the other has lent, and put back what the other has set.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from isoinit._system.modes import plain_torch
from isoinit._system.signals import check_signals, postponed
from isoinit.errors import IsoinitWarning

LONG = 10.0
"""Seconds of waiting that are told."""

OFTEN = 0.1
"""Seconds after which a thread that waits looks for signals."""

_turn = threading.RLock()


class _Here(threading.local):
    """What holds for each thread: whether it is inside."""

    inside = False


_here = _Here()


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other thread is inside; a thread that is inside may enter again.

    Signals wait until what is lent has been put back: see `postponed`. Torch's modes that would
    falsify a run are left: see `plain_torch`.

    Raises:
        ArgumentError: inside a function that torch transforms, traces or compiles.

    Warns:
        IsoinitWarning: if it waited long.
    """
    with postponed():
        turn = _turn  # a process that is forked inside has another one at the end
        waited = _wait(turn)
        try:
            if waited > LONG:
                warnings.warn(
                    f"waited {waited:.0f} s for another thread. Only one thread of a process can "
                    "plan, check or fill a model at a time",
                    IsoinitWarning,
                    stacklevel=4,
                )
            with nullcontext() if _here.inside else plain_torch():
                before, _here.inside = _here.inside, True
                try:
                    yield
                finally:
                    _here.inside = before
        finally:
            turn.release()


def _wait(turn: threading.RLock) -> float:
    """Wait for a lock; returns the seconds that it took."""
    begin = time.monotonic()
    while not turn.acquire(timeout=OFTEN):
        check_signals()  # who waits may be stopped
    return time.monotonic() - begin


def _anew() -> None:
    """Forget who is inside: in a process that was forked, no other thread is there to leave."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
