"""What isoinit says of one model: as its library initializes it, and as a plan does."""

from __future__ import annotations

import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from evidence.libraries import catalogue
from evidence.libraries.training import run, trains
from evidence.sweep import words
from torch import nn

import isoinit

STAGE_S = 60  # a check, a plan, a training run
LARGEST = 65_000_000  # parameters; two models at a time have to fit
FACTOR = 2.0  # between a layer's measured size and the expected: beyond, the reading is wrong
SEED = 0


class OutOfTimeError(BaseException):
    """A stage took too long; nothing that catches `Exception` catches it."""


def look(family: str) -> dict[str, Any]:
    """All that is found of one model, named "library: model"."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    library, _, name = family.partition(": ")
    row: dict[str, Any] = {"family": family, "library": library, "name": name, "runs": False}
    try:
        with _within(STAGE_S):
            torch.manual_seed(SEED)
            model, batch = catalogue.build(library, name)
            model.train()
            _forward(model, batch, row)
    except OutOfTimeError:
        return row | {"why": f"its own forward took more than {STAGE_S} s"}
    except Exception as error:  # another model's failure, whatever it is, is what we note
        return row | {"why": words(error)}
    if row["parameters"] > LARGEST:
        return row | {"why": f"{row['parameters']:,} parameters are too many here"}
    row["runs"] = True
    _examine(model, batch, row)
    return row


def _forward(model: nn.Module, batch: Any, row: dict[str, Any]) -> None:
    """Run the model once as it is, with nothing of isoinit beside it; its state stays."""
    row["parameters"] = sum(p.numel() for p in model.parameters())
    row["examples"] = examples(batch)
    if row["parameters"] <= LARGEST:
        state = {n: t.clone() for n, t in model.state_dict().items() if torch.is_tensor(t)}
        run(model, batch)
        model.load_state_dict(state, strict=False)


def _examine(model: nn.Module, batch: Any, row: dict[str, Any]) -> None:
    """Check, plan, apply and check again; train where an error was found. Failures are noted."""
    row["trains"] = {}
    with _stage("own", row):
        row["own"] = _findings(isoinit.check(model, batch))
    if _errors(row, "own"):
        row["trains"]["own"] = _trains(model, batch)
    plan: Any = None
    with _stage("plan", row):
        torch.manual_seed(SEED)
        plan = isoinit.plan(model, batch)
        row["warnings"] = list(plan.warnings)
    if plan is None:
        return
    with _stage("planned", row):
        torch.manual_seed(SEED)
        plan.apply(model, seed=SEED)
        health = isoinit.check(model, batch, plan=plan)
        row["planned"] = _findings(health)
        row["expected"], row["off"] = far_off(health.layers)
    if _errors(row, "planned"):
        row["trains"]["planned"] = _trains(model, batch)


@contextmanager
def _stage(name: str, row: dict[str, Any]) -> Iterator[None]:
    """Note how long a stage took; of one that fails or takes too long, that."""
    start = time.process_time()
    try:
        with _within(STAGE_S):
            yield
    except OutOfTimeError:
        row[f"{name}_error"] = f"took more than {STAGE_S} s"
    except Exception as error:  # isoinit's own fault is what is looked for
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{f.filename.rpartition('/')[2]}:{f.lineno}" for f in reversed(frames))
        row[f"{name}_error"] = f"{words(error)} ({where})"
    row[f"{name}_s"] = round(time.process_time() - start, 2)


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    """Stop what takes more processor time than that; other work on the machine does not count."""

    def stop(*_: Any) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _trains(model: nn.Module, batch: Any) -> Any:
    """How the model trains from where it is; where it does not run or takes too long, that."""
    try:
        with _within(2 * STAGE_S):
            return trains(model, batch, SEED)
    except OutOfTimeError:
        return f"took more than {2 * STAGE_S} s"
    except Exception as error:  # another model's failure, whatever it is, is what we note
        return words(error)


def _findings(health: Any) -> list[tuple[str, str, str]]:
    return [(f.name, f.severity, str(f)) for f in health.findings]


def _errors(row: dict[str, Any], stage: str) -> bool:
    return any(severity == "error" for _, severity, _ in row.get(stage, ()))


def far_off(layers: Any) -> tuple[int, list[tuple[str, float, float]]]:
    """How many layers have an expected size, and those that are far from it, the worst first.

    A layer that is used again counts once, by its first use.

    Args:
        layers: of a check that was given the plan, in the order in which they ran.

    Returns:
        The count, and of each layer that is off: its name, the size expected and the one measured.
    """
    first: dict[str, Any] = {}
    for layer in layers:
        first.setdefault(layer.name, layer)
    known = [x for x in first.values() if x.expected is not None and x.rms == x.rms]
    ratios = {x.name: _ratio(x.expected, x.rms) for x in known}
    off = [x for x in known if ratios[x.name] > FACTOR]
    off.sort(key=lambda x: -ratios[x.name])
    return len(known), [(x.name, x.expected, x.rms) for x in off]


def _ratio(one: float, other: float) -> float:
    low, high = sorted((one, other))
    if high == low:
        return 1.0
    return high / low if low > 0 else float("inf")


def examples(batch: Any) -> int:
    """How many examples a batch holds: the first axis of its first tensor."""
    if isinstance(batch, dict):
        batch = tuple(batch.values())
    first = batch if torch.is_tensor(batch) else next(t for t in batch if torch.is_tensor(t))
    return len(first) if first.dim() else 1
