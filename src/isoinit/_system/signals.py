"""Signals wait while a model or a setting of the process is not as the caller left it.

A handler runs between any two instructions of the main thread, and that of SIGINT raises there: in the
middle of putting things back, or after a switch is set and before the block that sets it back has
begun. So inside `postponed` no handler runs but in the caller's own code, where a run is ready for
exceptions, and where `check_signals` is called.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}  # those that have to wait
_waiting: list[int] = []  # the signals that came meanwhile
BETWEEN = ("torch", "contextlib")  # they enter and leave blocks for whoever calls them


@contextmanager
def postponed() -> Iterator[None]:
    """Have the handlers of signals wait; they are called when the block ends, if not before.

    All that Python calls: that of SIGINT, and those that the caller has set, such as for SIGALRM. In
    other threads than the main one, where Python calls none, and inside another block this does
    nothing.
    """
    if _handlers or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        _take_over()
        yield
    finally:
        try:
            _hand_back()
        finally:
            _deliver()


def check_signals() -> None:
    """Call the handlers that wait: here an exception does no harm."""
    if _waiting and threading.current_thread() is threading.main_thread():
        number = _waiting.pop(0)
        _handlers[number](number, sys._getframe())


def call_user(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Call what the caller has given, such as a model: a signal may stop it anywhere."""
    check_signals()
    return function(*args, **kwargs)


def _take_over() -> None:
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler):
            _handlers[number] = handler
            signal.signal(number, _later)


def _hand_back() -> None:
    try:
        while _handlers:
            number, handler = next(iter(_handlers.items()))
            if signal.getsignal(number) is _later:  # else the caller's code has set another
                signal.signal(number, handler)
            del _handlers[number]
    finally:  # a handler that was handed back may have raised
        if _handlers:
            _hand_back()


def _deliver() -> None:
    if _waiting:
        try:
            signal.raise_signal(_waiting.pop(0))
        finally:
            _deliver()


def _later(number: int, frame: FrameType | None) -> None:
    if number in _handlers and _is_users(frame):
        _handlers[number](number, frame)
    elif number not in _waiting:
        _waiting.append(number)


def _is_users(frame: FrameType | None) -> bool:
    """Return whether what runs is the caller's: it was called by `call_user`, or by none of us."""
    if frame is None or _package(frame) in BETWEEN:
        return False
    while frame is not None and frame.f_code is not call_user.__code__:
        if _package(frame) == "isoinit":
            return False
        frame = frame.f_back
    return True


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
