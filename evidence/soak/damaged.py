"""Plan files, headers and checkpoints that something happened to."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from evidence.soak.tried import Tried, rounds
from torch import nn

import damage
import isoinit
import mutations
from isoinit._system.headers import read_header
from isoinit.errors import ArgumentError, IsoinitError


def plan_files(seconds: float, seed: int) -> Tried:
    """Read plan files with an accident; each must be refused, or print and be saved as it was read."""
    tried = Tried("a plan file with an accident is read")
    chance = random.Random(seed)
    texts = [plan.to_json() for plan, _ in mutations.plans().values()]
    for _ in rounds(tried, seconds):
        try:
            plan = isoinit.Plan.from_json(mutations.mutated(chance.choice(texts), chance))
        except IsoinitError:
            tried.met += 1
            continue
        except BaseException as error:
            tried.lose(f"{type(error).__name__}: {error}")
            continue
        try:
            str(plan).encode()
            if isoinit.Plan.from_json(plan.to_json()) != plan:
                tried.lose("another plan comes back")
        except Exception as error:
            tried.lose(f"{type(error).__name__}: {error}")
    return tried


def checkpoints(seconds: float, seed: int) -> Tried:
    """Damage a file of a checkpoint; `verify` must find it, and never raise."""
    tried = Tried("a file of a checkpoint is changed, cut or removed, and verified")
    chance = random.Random(seed)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkpoint"
        isoinit.write_checkpoint(isoinit.plan(model), model, folder, seed=0)
        whole = {path.name: path.read_bytes() for path in folder.iterdir()}
        for _ in rounds(tried, seconds):
            name = chance.choice(list(whole))
            data = _changed(whole[name], chance)
            if data is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(data)
            try:
                found = isoinit.verify_checkpoint(folder)
                tried.met += not found.ok
                if found.ok and name.endswith(".safetensors"):
                    tried.lose(f"{name}: not seen")
            except ArgumentError:  # such as: it holds no plan
                tried.met += 1
            except BaseException as error:
                tried.lose(f"{name}: {type(error).__name__}: {error}")
            (folder / name).write_bytes(whole[name])
    return tried


def _changed(data: bytes, chance: random.Random) -> bytes | None:
    kind, at = chance.randrange(5), chance.randrange(len(data))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at + chance.randrange(1, 9) :]
    return data + bytes(chance.randrange(1, 9)) if kind == 3 else None


def headers(seconds: float, seed: int) -> Tried:
    """Read safetensors files with an accident; each must be read, or refused by ValueError."""
    tried = Tried("a safetensors file with an accident is read")
    chance = random.Random(seed)
    originals = damage.originals()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.safetensors"
        for _ in rounds(tried, seconds):
            path.write_bytes(damage.mutated(chance.choice(originals), chance))
            try:
                read_header(path, links=False)
            except ValueError:
                tried.met += 1
            except BaseException as error:
                tried.lose(f"{type(error).__name__}: {error}")
    return tried
