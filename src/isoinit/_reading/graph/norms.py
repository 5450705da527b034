"""Norm layers: torch's own, and those that a model spells out in steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isoinit._reading.graph.dataflow import Dataflow
from isoinit._reading.graph.ops import STATISTICS, Array, Op, ReplayError

LAST = frozenset({"mul", "div", "add", "sub"})  # what a norm layer written in steps may end with
MOST = 24  # steps of one
LARGE = 2.0**10  # beside which an epsilon is nothing
ABOUT = 0.1  # of 1: of sixteen numbers, dividing by n - 1 leaves 0.94


def find_norms(flow: Dataflow) -> dict[int, int]:
    """Find the norm layers: the index of the last step of each, and the value that it is given."""
    found = {op.index: op.inputs[0] for op in flow.ops if op.kind == "norm" and op.inputs}
    for op in flow.ops:
        if (value := _normed_by(flow, op)) is not None:
            found[op.index] = value
    return found


def scales_inside(flow: Dataflow, norms: dict[int, int]) -> dict[int, int]:
    """Find the scales and shifts inside norm layers, and the last step of each: by their indices.

    Such as g in `x * (rsqrt(var + eps) * g) + b`.
    """
    found: dict[int, int] = {}
    for last, value in norms.items():
        waiting = [*flow.ops[last].inputs] if flow.ops[last].kind != "norm" else []
        while waiting:
            step = flow.producers.get(at := waiting.pop())
            if step is not None and at > value:
                waiting.extend(step.inputs)
                if step.uses:
                    found[step.index] = last
    return found


def _normed_by(flow: Dataflow, op: Op) -> int | None:
    """What an operation normalizes, if it ends a norm layer that is written out in steps.

    Such as `x * rsqrt(mean(x**2) + eps)`: what it does is replayed, and it is a norm if the result
    has the direction of its input and not its size. A scale or shift on the way is neutral.
    """
    if op.name not in LAST or len(set(op.inputs)) != 2 or op.uses:
        return None
    behind = _statistic_behind(flow, op)
    if behind is None:
        return None
    value, steps = behind
    shape = flow.sizes.get(value, ())
    if not shape:
        return None
    given = _noise(_few(shape))
    try:
        results = [_replayed(steps, value, given * size) for size in (8.0, 64.0)]
    except ReplayError:  # fixed sizes, rearrangements: its steps are what the walk follows then
        return None
    small, large = results
    spread = float(np.std(small))
    if small.shape != given.shape or spread < 1e-4 or not np.isfinite(spread):
        return None
    same = np.allclose(small, large, rtol=1e-2, atol=1e-2 * spread)
    return value if same and np.corrcoef(small.ravel(), given.ravel())[0, 1] > 0.5 else None


def second_in_steps(flow: Dataflow, op: Op) -> float:
    """Return the second moment of what a norm layer in steps makes, which such an operation ends."""
    behind = _statistic_behind(flow, op)
    return 1.0 if behind is None else second_of(flow, *behind)


def second_of(flow: Dataflow, value: int, steps: Sequence[Op]) -> float:
    """Return the second moment of what steps make of a value, if they normalize it.

    It is 1 where they divide by a deviation or a root mean square, 1/n where they divide by the length
    of n elements, and 1 where they cannot be replayed. Which axes a length runs along shows on arrays
    that are twice as long there, so no array of the value's own size is made.
    """
    shape = flow.sizes[value]
    few = _few(shape)
    if not _keeps_places(flow, steps):
        return 1.0
    try:
        second = _second(steps, value, few)
        if abs(second - 1) < ABOUT:
            return 1.0
        powers = []
        for axis, (size, whole) in enumerate(zip(few, shape, strict=True)):
            longer = (*few[:axis], 2 * size, *few[axis + 1 :])
            ratio = _second(steps, value, longer) / second if whole > size else 1.0
            powers.append(round(math.log2(ratio)))
        if not any(powers):  # divided by n - 1: a few numbers are too few
            more = tuple(min(4 * size, whole) for size, whole in zip(few, shape, strict=True))
            second = _second(steps, value, more)
    except (ReplayError, ValueError, ArithmeticError):  # of a fixed size, no number, or zero
        return 1.0
    sizes = zip(few, shape, powers, strict=True)
    second *= math.prod((whole / size) ** power for size, whole, power in sizes)
    return 1.0 if abs(second - 1) < ABOUT else second


def _second(steps: Sequence[Op], value: int, shape: tuple[int, ...]) -> float:
    """Return the second moment of what steps make of numbers that have no mean along any axis."""
    given = _noise(shape)
    for axis in (axis for axis, size in enumerate(shape) if size > 1):
        given = given - given.mean(axis, keepdims=True)
    return float(np.mean(np.square(_replayed(steps, value, LARGE * given))))


def _few(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*(min(n, 4) for n in shape[:-1]), min(shape[-1], 64))


def _noise(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(0).standard_normal(shape)


def _replayed(steps: Sequence[Op], value: int, given: Array) -> Array:
    """Return what steps make of an array in the place of a value; moves keep every axis in place."""
    arrays = {value: given}
    for step in steps:
        if step.kind == "move":
            arrays[step.outputs[0]] = arrays[step.inputs[0]]
        else:
            made = step.play([arrays[each] for each in step.inputs])  # no rows: of their own shapes
            arrays.update(zip(step.outputs, made, strict=True))
    return arrays[steps[-1].outputs[0]]


def _statistic_behind(flow: Dataflow, op: Op) -> tuple[int, list[Op]] | None:
    """The one value that an operation comes from by a few steps, one of them a statistic."""
    steps, waiting = [op], set(op.inputs)
    while len(steps) < MOST:
        newest = max(waiting)
        if len(waiting) == 1 and any(step.name in STATISTICS for step in steps):
            return (newest, steps[::-1]) if _keeps_places(flow, steps[::-1]) else None
        step = flow.producers.get(newest)
        if step is None or len(step.outputs) != 1 or (step.uses and not step.is_neutral):
            return None
        if step.kind == "move" and _extents(flow, newest) != _extents(flow, step.inputs[0]):
            return None
        if step.kind != "move" and step.replay is None and not step.is_neutral:
            return None
        steps.append(step)
        waiting = waiting - {newest} | set(step.inputs)
    return None


def _extents(flow: Dataflow, value: int) -> list[int]:
    """The sizes of the axes of a value along which there is more than one element."""
    return [size for size in flow.sizes[value] if size > 1]


def _keeps_places(flow: Dataflow, steps: Sequence[Op]) -> bool:
    """Whether axes that moves drop and add again stand where they stood, as a replay takes them.

    So a statistic is squeezed, and seen with axes of one element when it meets the signal.
    """
    before: dict[int, list[int]] = {}  # where the axes of a reshaped value are in the replay
    for step in steps:
        first = step.inputs[0]
        if step.kind == "move":
            if first in before or flow.sizes[first] != flow.sizes[step.outputs[0]]:
                before[step.outputs[0]] = before.get(first, _places(flow, first))
        elif (step.name in STATISTICS and first in before) or any(
            before.get(v, place) != place for v in step.inputs for place in [_places(flow, v)]
        ):
            return False
    return True


def _places(flow: Dataflow, value: int) -> list[int]:
    """The axes of a value with more than one element, counted from the end."""
    shape = flow.sizes[value]
    return [axis - len(shape) for axis, size in enumerate(shape) if size > 1]
