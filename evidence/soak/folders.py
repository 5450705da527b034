"""Processes that write to one place, and are killed while they do."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from evidence.soak.tried import Tried, rounds
from torch import nn

import isoinit
from isoinit.errors import ArgumentError


def savers(seconds: float, seed: int) -> Tried:
    """Save two plans to one path from six processes; who reads must see one of them, whole."""
    tried = Tried("six processes save to one path, killed at any moment; one reads")
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(20)])
    plans = [isoinit.plan(model, method=method) for method in ("he", "orthogonal")]
    known, chance = {plan.digest for plan in plans}, random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        plans[0].save(path)
        children = [_forked(partial(_save, plans[i % 2], path)) for i in range(6)]
        for _ in rounds(tried, seconds):
            if isoinit.Plan.load(path).digest not in known:
                tried.lose("a reader saw another plan")
            if chance.random() < 0.1:
                at = chance.randrange(len(children))
                tried.met += _killed(children[at])
                children[at] = _forked(partial(_save, plans[at % 2], path))
        for child in children:
            _killed(child)
    return tried


def _save(plan: isoinit.Plan, path: Path) -> None:
    while True:
        plan.save(path)


def writers(seconds: float, seed: int) -> Tried:
    """Write a checkpoint from two processes, killed or interrupted; the next run must complete it."""
    tried = Tried("two processes write a checkpoint, killed or interrupted; then it is completed")
    model = nn.Sequential(*[nn.Linear(40, 40) for _ in range(6)])
    plan, chance = isoinit.plan(model), random.Random(seed)
    expected = str(plan.fingerprint(0))
    with tempfile.TemporaryDirectory() as place:
        for turn in rounds(tried, seconds):
            folder = Path(place) / str(turn)
            children = [_forked(partial(_write, plan, model, folder)) for _ in range(2)]
            time.sleep(chance.random() * 0.15)
            number = chance.choice([signal.SIGKILL, signal.SIGINT])
            tried.met += sum([_killed(child, number) for child in children])
            try:
                isoinit.write_checkpoint(plan, model, folder, seed=0, max_shard_size="20KB")
                found = isoinit.verify_checkpoint(folder)
            except Exception as error:
                tried.lose(f"{type(error).__name__}: {error}")
                continue
            if not found.ok or found.fingerprint != expected:
                tried.lose(str(found))
            if left := [path.name for path in folder.iterdir() if "partial" in path.name]:
                tried.lose(f"left behind: {left}")
    return tried


def _write(plan: isoinit.Plan, model: nn.Module, folder: Path) -> None:
    while True:
        try:
            isoinit.write_checkpoint(plan, model, folder, seed=0, max_shard_size="20KB")
        except ArgumentError:  # the other one is writing
            time.sleep(0.001)


def _forked(work: Callable[[], None]) -> int:
    """Start a process that does something until it is killed; returns its number."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except KeyboardInterrupt:
            os._exit(130)
        finally:
            os._exit(1)
    return child


def _killed(child: int, number: int = signal.SIGKILL) -> bool:
    """Kill a process, and wait for its end; returns whether the signal ended it."""
    os.kill(child, number)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 130
