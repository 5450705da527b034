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
from contextlib import contextmanager

from isoinit.errors import IsoinitWarning

LONG = 10.0
"""Seconds of waiting that are told."""

_turn = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other thread is inside; a thread that is inside may enter again.

    Warns:
        IsoinitWarning: if it waited long.
    """
    turn = _turn  # a process that is forked inside has another one at the end
    if not turn.acquire(blocking=False):
        begin = time.monotonic()
        turn.acquire()
        if (waited := time.monotonic() - begin) > LONG:
            warnings.warn(
                f"waited {waited:.0f} s for another thread that plans, checks or fills a model: in "
                "one process this is done one at a time",
                IsoinitWarning,
                stacklevel=4,
            )
    try:
        yield
    finally:
        turn.release()


def _anew() -> None:
    """Forget who is inside: in a process that was forked, no other thread is there to leave."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
