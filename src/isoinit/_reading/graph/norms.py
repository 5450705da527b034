"""Norm layers: torch's own, and those that a model spells out in steps."""

from __future__ import annotations

import numpy as np

from isoinit._reading.graph.dataflow import Dataflow
from isoinit._reading.graph.ops import STATISTICS, Op, ReplayError
from isoinit._reading.graph.replay import run_ops


def find_norms(flow: Dataflow) -> dict[int, int]:
    """Find the norm layers: the index of the last step of each, and the value that it is given."""
    found = {op.index: op.inputs[0] for op in flow.ops if op.kind == "norm" and op.inputs}
    for op in flow.ops:
        if (value := _normed_by(flow, op)) is not None:
            found[op.index] = value
    return found


def _normed_by(flow: Dataflow, op: Op) -> int | None:
    """What a product or quotient normalizes, if it ends a norm layer that is written out in steps.

    Such as `x * rsqrt(mean(x**2) + eps)`: what it does is replayed, and it is a norm if the result
    has the direction of its input and not its size.
    """
    if op.name not in ("mul", "div") or len(set(op.inputs)) != 2 or op.uses:
        return None
    behind = _statistic_behind(flow, op)
    if behind is None:
        return None
    value, steps = behind
    shape = flow.sizes.get(value, ())
    if not shape:
        return None
    few = (*(min(n, 4) for n in shape[:-1]), min(shape[-1], 64))
    given = np.random.default_rng(0).standard_normal(few)
    try:
        results = [run_ops(steps, {value: given * size})[op.outputs[0]] for size in (8.0, 64.0)]
    except ReplayError:  # fixed sizes, rearrangements: its steps are what the walk follows then
        return None
    small, large = results
    spread = float(np.std(small))
    if small.shape != given.shape or spread < 1e-4 or not np.isfinite(spread):
        return None
    same = np.allclose(small, large, rtol=1e-2, atol=1e-2 * spread)
    return value if same and np.corrcoef(small.ravel(), given.ravel())[0, 1] > 0.5 else None


def _statistic_behind(flow: Dataflow, op: Op) -> tuple[int, list[Op]] | None:
    """The one value that an operation comes from by a few steps, one of them a statistic."""
    steps, waiting = [op], set(op.inputs)
    while len(steps) < 16:
        newest = max(waiting)
        if len(waiting) == 1 and any(step.name in STATISTICS for step in steps):
            return newest, steps[::-1]
        step = flow.producers.get(newest)
        if step is None or step.uses or len(step.outputs) != 1:
            return None
        if step.kind == "move" and flow.sizes[newest] != flow.sizes[step.inputs[0]]:
            return None
        if step.kind != "move" and step.replay is None:
            return None
        steps.append(step)
        waiting = waiting - {newest} | set(step.inputs)
    return None
