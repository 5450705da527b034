"""Threads that work on one model and on their own, and take turns all the time."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

from evidence.soak.tried import Tried, rounds

import isoinit
from interrupted import BATCH, Net, at_once, settings, state


def threads(seconds: float, seed: int) -> Tried:
    """Run verbs in four threads; each must give what it gives alone, and leave the model as it was."""
    tried = Tried("four threads, one model and four, a switch every 10 µs")
    chance = random.Random(seed)
    before, interval = settings(), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in rounds(tried, seconds):
            shared = chance.random() < 0.5
            first = Net()
            models = [first if shared else Net() for _ in range(4)]
            plans = [isoinit.plan(model, BATCH) for model in models]
            for model, plan in zip(models, plans, strict=True):
                plan.apply(model, seed=0)
            calls = [
                chance.choice(list(_verbs(m, p).values()))
                for m, p in zip(models, plans, strict=True)
            ]
            expected = [call() for call in calls]
            states = [state(model) for model in models]
            found, errors = at_once(calls)
            tried.met += 1
            for error in errors:
                tried.lose(f"{type(error).__name__}: {error}")
            if not errors and found != expected:
                tried.lose("a verb gave something else than alone")
            if [state(model) for model in models] != states:
                tried.lose("a model is another")
            if {k: v for k, v in settings().items() if k != "generators"} != {
                k: v for k, v in before.items() if k != "generators"
            }:
                tried.lose("settings are not as before")
    finally:
        sys.setswitchinterval(interval)
    return tried


def _verbs(model: Any, plan: isoinit.Plan) -> dict[str, Callable[[], Any]]:
    return {
        "plan": lambda: isoinit.plan(model, BATCH).to_json(),
        "check": lambda: str(isoinit.check(model, BATCH)),
        "calibrate": lambda: plan.calibrate(model, BATCH).to_json(),
        "fingerprint": lambda: str(isoinit.fingerprint(model)),
        "apply": lambda: plan.apply(model, seed=0) and None,
        "audit": lambda: str(isoinit.audit(Net)),
    }
