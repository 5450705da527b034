"""One thread of a process at a time works on models.

A run lends a model other tensors, seeds the random number generators and switches `torch.compile`
off: of two at once each would meet what the other has lent, and put back what the other has set.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from isoinit._system.signals import check_signals, postponed
from isoinit.errors import IsoinitWarning

LONG = 10.0
"""Seconds of waiting that are told."""

OFTEN = 0.1
"""Seconds after which a thread that waits looks for signals."""

_turn = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other thread is inside; a thread that is inside may enter again.

    Inside, torch's inference mode is off: of what is made in it nothing can be trained or counted.
    Signals wait until what is lent has been put back: see `postponed`.

    Warns:
        IsoinitWarning: if it waited long.
    """
    with postponed():
        turn = _turn  # a process that is forked inside has another one at the end
        waited = _wait(turn)
        try:
            if waited > LONG:
                warnings.warn(
                    f"waited {waited:.0f} s for another thread that plans, checks or fills a model: "
                    "in one process this is done one at a time",
                    IsoinitWarning,
                    stacklevel=4,
                )
            with _trainable():
                yield
        finally:
            turn.release()


def _wait(turn: threading.RLock) -> float:
    """Wait for a lock; returns the seconds that it took."""
    begin = time.monotonic()
    while not turn.acquire(timeout=OFTEN):
        check_signals()  # who waits may be stopped
    return time.monotonic() - begin


def _trainable() -> AbstractContextManager[Any]:
    torch = sys.modules.get("torch")  # who has not loaded it is in no mode
    if torch is None or not torch.is_inference_mode_enabled():
        return nullcontext()
    off: AbstractContextManager[Any] = torch.inference_mode(False)
    return off


def _anew() -> None:
    """Forget who is inside: in a process that was forked, no other thread is there to leave."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
