"""Verbs that a signal stops at any moment."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from evidence.soak.tried import Tried, rounds

import isoinit
from interrupted import BATCH, Alarm, Net, settings, state, verbs


def interrupts(seconds: float, seed: int) -> Tried:
    """Interrupt verbs; the model and the settings must be as before, and a fill must complete."""
    tried = Tried("a verb is interrupted at any moment")
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = lambda _: None  # Python drops one that comes while an object is freed
    alarm = Alarm(seed)
    with tempfile.TemporaryDirectory() as folder:
        model = Net()
        plan = isoinit.plan(model, BATCH)
        plan.apply(model, seed=0)
        places = iter(range(10**9))
        calls = verbs(model, plan, lambda: Path(folder) / str(next(places)))
        calls["apply"] = lambda: plan.apply(model, seed=0)
        names, spans = list(calls), {name: _seconds(call) for name, call in calls.items()}
        filled, before = state(model), settings()
        for turn in rounds(tried, seconds):
            name = names[turn % len(names)]
            alarm.span = spans[name]
            try:
                tried.met += alarm.during(calls[name]) is not None
            except Exception as error:
                tried.lose(f"{name}: {type(error).__name__}: {error}")
            if name == "apply":
                plan.apply(model, seed=0)
            if state(model) != filled:
                tried.lose(f"{name}: the model is another")
            if (after := settings()) != before:
                what = ", ".join(key for key in before if after[key] != before[key])
                tried.lose(f"{name}: {what} are not as before")
    return tried


def _seconds(call: Callable[[], object]) -> float:
    """Return how long a verb takes, when all that it needs is loaded."""
    call()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
