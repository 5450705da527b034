"""Residual sums: a skip plus a branch, and the streams that they add to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from isoinit._reading.graph.dataflow import Dataflow
from isoinit._reading.graph.ops import LAYERS, PRODUCTS, SUMS, Op

NONE: Mapping[int, Any] = MappingProxyType({})
GATES = frozenset({"softmax", "sigmoid", "topk"})
LARGEST_BLOCK = 500  # operations beside a projected skip: a loop over time has more, a block never


@dataclass(frozen=True)
class Join:
    """A residual sum: a skip plus a branch that was computed from what the skip holds.

    Attributes:
        op: the sum.
        start: the value that both sides come from.
        branch: the value that the branch ends with.
        ends: the operations with parameters that the branch ends with, by index.
        stream: the number of the residual stream that it adds to.
    """

    op: Op
    start: int
    branch: int
    ends: tuple[int, ...]
    stream: int


def find_joins(flow: Dataflow, scales: Mapping[int, int]) -> dict[int, Join]:
    """Find the residual sums, by the index of the operation.

    Args:
        flow: the operations.
        scales: the scales and shifts inside norm layers, and the last step of each, by index.
    """
    found: dict[int, Join] = {}
    norms: dict[int, set[int]] = {}  # by the last step
    for index, last in scales.items():
        norms.setdefault(last, set()).add(index)
    for op in flow.ops:
        if op.name not in SUMS or len(op.inputs) != 2 or op.index in norms:
            continue
        if sides := _skip_and_branch(flow, op):
            start, branch = sides
            stream = _stream_behind(flow, start, found)
            ends = tuple(sorted(_last_weights(flow, branch, start, norms)))
            found[op.index] = Join(op, start, branch, ends, stream)
    return found


def _skip_and_branch(flow: Dataflow, op: Op) -> tuple[int, int] | None:
    """Where a residual sum starts, and the value that its branch ends with; None for other sums."""
    for skip, branch in (op.inputs, op.inputs[::-1]):
        start = flow.trunk(skip)
        if start != flow.trunk(branch) and flow.depends(branch, on=start):
            return (start, branch) if _last_weights(flow, branch, start) else None
    for skip, branch in (op.inputs, op.inputs[::-1]):
        before, other = (_before_projection(flow, side) for side in (skip, branch))
        if before is None or before == other or _before_factors(flow, branch) == before:
            continue
        if _layers_between(flow, before, branch) > 1:
            return before, branch
    return None


def _before_factors(flow: Dataflow, value: int) -> int | None:
    """What two maps with nothing between them were applied to: one map in factors, no branch."""
    for _ in range(2):
        op = flow.producers.get(flow.trunk(value))
        if op is None or op.kind != "map" or len(op.inputs) != 1:
            return None
        value = op.inputs[0]
    return flow.trunk(value)


def _before_projection(flow: Dataflow, value: int) -> int | None:
    """What a lone linear map, perhaps with a norm layer behind it, was applied to.

    Where a residual network changes its width, the skip goes through one (He et al. 2016, section
    3.3).
    """
    for _ in range(8):
        value = flow.trunk(value)
        op = flow.producers.get(value)
        if op is None or len(op.inputs) != 1:
            return None
        if op.kind == "map":
            return flow.trunk(op.inputs[0])
        if op.kind != "norm" and not op.is_neutral:
            return None
        value = op.inputs[0]
    return None


def _layers_between(flow: Dataflow, start: int, value: int) -> float:
    """How many layers stand one behind the other from `start` to `value`; -inf if none lead there.

    Two heads of one network that are added are no skip and branch: a branch is the deeper side.
    """
    depths: dict[int, float] = {start: 0.0}
    path: list[int] = []
    waiting, seen = [value], {start}
    while waiting:
        at = waiting.pop()
        if at > start and at not in seen and (op := flow.producers.get(at)):
            seen.add(at)
            path.append(at)
            waiting.extend(op.inputs)
        if len(path) > LARGEST_BLOCK:
            return -math.inf
    for at in sorted(path):
        op = flow.producers[at]
        behind = max((depths.get(v, -math.inf) for v in op.inputs), default=-math.inf)
        depths[at] = behind + (op.kind in LAYERS)
    return depths.get(value, -math.inf)


def _last_weights(
    flow: Dataflow, branch: int, start: int, norms: Mapping[int, set[int]] = NONE
) -> set[int]:
    """What writes to a residual stream: from a branch's end back to the nearest parameters on it.

    A bias that was added by itself does not hide the weight behind it. Of a product of two signals
    what writes is the side that is no gate; a product of matrices without a gate (a state space)
    hides what is behind it. So does a norm layer with a scale, wherever in its steps that stands:
    `norms` gives the scales and shifts of such, by the last step.
    """
    found: set[int] = set()
    waiting, seen = [branch], {start}
    while waiting:
        value = waiting.pop()
        op = flow.producers.get(value)
        if op is None or value < start or value in seen:
            continue
        seen.add(value)
        if op.index in norms:
            found |= norms[op.index]
            continue
        if op.uses and flow.depends(value, on=start):
            found.add(op.index)
        if op.kind in ("move", "other") and {use.slot for use in op.uses} <= {"bias"}:
            waiting.extend(_written(flow, op))
    return found


def _written(flow: Dataflow, op: Op) -> list[int]:
    """The inputs of an operation that its result is a sum of, as against those that weigh it."""
    inputs = list(dict.fromkeys(op.inputs))
    if len(inputs) < 2 or op.name not in (*PRODUCTS, "mul", "div"):
        return inputs
    signals = [value for value in inputs if not _is_gate(flow, value)]
    return signals if len(signals) < len(inputs) or op.name in ("mul", "div") else []


def _is_gate(flow: Dataflow, value: int) -> bool:
    """Whether a value is a softmax or a sigmoid, or some of its largest entries, normalized."""
    for _ in range(8):
        op = flow.producers.get(value)
        if op is None or op.kind not in ("move", "other") or not op.inputs:
            return False
        if op.name in GATES:
            return True
        value = op.inputs[0]
    return False


def _stream_behind(flow: Dataflow, start: int, joins: dict[int, Join]) -> int:
    """The stream that a join continues: that of the sum which its start comes from, or a new one."""
    waiting, seen = [start], {start}
    while waiting and len(seen) < 64:
        op = flow.producers.get(waiting.pop())
        if op is None:
            continue
        if op.index in joins:
            return joins[op.index].stream
        if op.kind not in LAYERS:
            new = [value for value in op.inputs if value not in seen]
            seen.update(new)
            waiting.extend(sorted(new))
    return len({join.stream for join in joins.values()})
