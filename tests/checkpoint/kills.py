"""Writes a checkpoint in child processes that are killed at random moments, and goes on.

Run by `test_stopped.py` in a process of its own: a child is a fork of one that has imported all.
"""

import os
import random
import signal
import sys
import time
from hashlib import blake2b
from pathlib import Path

import torch
from torch import nn

import isoinit
from isoinit._system.locks import LOCK
from isoinit.checkpoint import writer as pieces

KILLS = 25


def contents(folder):
    return {p.name: blake2b(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def kill_at(count, calls):
    """Kill this process in the middle of one of the calls by which it reaches the disk."""
    left = count

    def counted(function):
        def call(*arguments, **options):
            nonlocal left
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    def half(out, views):
        nonlocal left
        left -= 1
        if left <= 0:
            out.write(bytes(views[0])[: len(bytes(views[0])) // 2])
            out.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return write(out, views)

    write = pieces._write
    pieces._write = half
    for place, name in calls:
        setattr(place, name, counted(getattr(place, name)))


def write_in_child(write, count=None, seconds=None):
    """Write in a child that is killed at the `count`th call, or after some seconds."""
    child = os.fork()
    if child == 0:
        if count is not None:
            kill_at(count, [(os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")])
        write()
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0


def main(home, kind):
    torch.set_num_threads(1)
    pieces.PIECE = 4096
    with isoinit.deferred():
        model = nn.Sequential(*[nn.Linear(40, 40) for _ in range(6)])
    plan = isoinit.Plan.load(home / "plan.json")
    last = "model.safetensors.index.json" if kind == "safetensors" else ".metadata"
    chance = random.Random(0)

    def write(folder):
        isoinit.write_checkpoint(plan, model, folder, format=kind, max_shard_size=9000, seed=0)

    start = time.perf_counter()
    write(home / "whole")
    whole, usual = contents(home / "whole"), time.perf_counter() - start
    killed = parts = 0
    while killed < KILLS:
        folder = home / f"{killed}"
        while True:
            at_call = chance.random() < 0.7
            count = chance.randint(1, 45) if at_call else None
            seconds = None if at_call else chance.uniform(0, usual)
            done = write_in_child(lambda where=folder: write(where), count, seconds)
            killed += not done
            names = contents(folder) if folder.exists() else {}
            kept = {name: names[name] for name in names if not name.endswith((".partial", LOCK))}
            assert kept.items() <= whole.items(), "a file has its name and not its bytes"
            assert (last in kept) <= (kept == whole), "what is not whole looks as if it were"
            parts += 0 < len(kept) < len(whole)
            if done or chance.random() < 0.3:
                break
        write(folder)
        assert contents(folder) == whole
    print(killed, parts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
