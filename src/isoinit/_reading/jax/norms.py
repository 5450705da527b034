"""Norm layers that are spelled out in steps, as one operation with its scale and shift.

What a norm does is read from its steps: the product of what has the size of the signal with what has
its inverse. So the statistic may be rearranged on its way, as that of a group norm is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from isoinit._reading.graph import Detail, Graph, Op, Use, second_of
from isoinit._reading.jax.prune import pruned

STEPS = 24  # operations of a norm at most
DEGREES = {"square": 2.0, "sqrt": 0.5, "rsqrt": -0.5, "neg": 1.0, "abs": 1.0}
SAME = frozenset("mean sum amax maximum relu clamp detach".split())


@dataclass(frozen=True)
class Norm:
    """A norm in steps.

    Attributes:
        value: what it normalizes.
        end: the operation that ends it.
        axes: the axes of the value that its statistics run over.
        groups: into how many groups these part the last axis; 0 where they run over all or none of it.
        centred: whether its mean is taken away.
        second: the second moment of what it makes.
    """

    value: int
    end: Op
    axes: frozenset[int]
    groups: int
    centred: bool
    second: float

    def name(self, rank: int) -> str:
        """Return what torch calls such a norm."""
        if self.groups:
            return "group_norm"
        if 0 in self.axes and rank > 1 and rank - 1 not in self.axes:
            return "batch_norm"
        if rank - 1 not in self.axes:
            return "instance_norm"
        return "layer_norm" if self.centred else "rms_norm"


def with_norms(graph: Graph) -> Graph:
    """Return a graph in which norm layers are single operations, as torch's own are.

    Scale and shift that follow at once belong to them.
    """
    ops = {op.index: op for op in graph.ops}
    gone: set[int] = set()
    for op in graph.ops:
        norm = _norm(graph, op)
        if norm is None and (op.kind != "norm" or op.index in gone):
            continue
        last, uses = op, list(op.uses)
        while (step := _affine(graph, last)) is not None:
            uses += _as_scale_and_shift(step.uses)
            gone.add(step.index)
            last = step
        if norm is not None and (found := _moved(graph, last, norm.value)) is not None:
            last, beside = found
            known = {use.parameter for use in uses}
            others = [use for step in beside for use in step.uses if use.parameter not in known]
            uses += _as_scale_and_shift(others)
            gone |= {last.index, *_read_here_alone(graph, beside, last)}
            norm = replace(norm, centred=True)
        made = replace(op, outputs=last.outputs, uses=tuple(uses))
        if norm is not None:
            name = norm.name(len(graph.sizes[norm.value]))
            detail = Detail(groups=norm.groups, second=norm.second)
            facts = (norm.value,), last.outputs, tuple(uses)
            made = Op(op.index, name, "norm", *facts, detail=detail)
        ops[op.index] = made
    left = [op for index, op in ops.items() if index not in gone]
    order = sorted(left, key=lambda op: (max(op.outputs, default=-1), op.index))
    return replace(graph, ops=tuple(pruned(order, graph.outputs)))


def _as_scale_and_shift(uses: Sequence[Use]) -> list[Use]:
    return [replace(use, slot="scale" if use.slot == "scale" else "shift") for use in uses]


def _affine(graph: Graph, op: Op) -> Op | None:
    """Return the one operation that follows, if it multiplies by a scale or adds a shift alone."""
    value = op.outputs[0]
    readers = graph.consumers.get(value, [])
    if len(readers) != 1 or value in graph.outputs:
        return None
    step = readers[0]
    known = step.kind == "other" and len(step.inputs) == 1 and step.uses
    if not known or any(u.neutral is None for u in step.uses):
        return None
    return step if {u.slot for u in step.uses} <= {"scale", "shift", "bias"} else None


def _moved(graph: Graph, op: Op, value: int) -> tuple[Op, list[Op]] | None:
    """Return the sum that follows, if it takes away a mean that was scaled as the signal was.

    Such as `x * a + (shift - mean * a)`, with `a` the scale by the deviation. With it, the steps from
    the statistics to what is added, the last first.
    """
    made = op.outputs[0]
    readers = graph.consumers.get(made, [])
    if len(readers) != 1 or made in graph.outputs:
        return None
    step = readers[0]
    if step.name not in ("add", "sub") or len(step.inputs) != 2 or step.uses:
        return None
    other = next((one for one in step.inputs if one != made), made)
    beside = _beside_mean(graph, other, value)
    return None if beside is None else (step, beside)


def _beside_mean(graph: Graph, other: int, value: int) -> list[Op] | None:
    """Return the steps to a value from statistics of another; None if it comes of more than these."""
    found, waiting = dict[int, Op](), [other]
    while waiting:
        maker = graph.producers.get(at := waiting.pop())
        if (
            at == value
            or maker is None
            or len(found) > STEPS
            or maker.kind not in ("move", "other")
        ):
            return None
        if maker.name in ("mean", "sum"):
            if not graph.depends(maker.inputs[0], on=value):
                return None
        elif any(use.neutral is None for use in maker.uses):
            return None
        elif maker.index not in found:
            found[maker.index] = maker
            waiting += maker.inputs
    return [found[index] for index in sorted(found, reverse=True)]


def _read_here_alone(graph: Graph, steps: Sequence[Op], last: Op) -> set[int]:
    """Return which of some steps nothing else reads: by their indices."""
    found = {last.index}
    for step in steps:
        readers = [op for value in step.outputs for op in graph.consumers.get(value, [])]
        if {op.index for op in readers} <= found and not set(step.outputs) & set(graph.outputs):
            found.add(step.index)
    return found


def _norm(graph: Graph, op: Op) -> Norm | None:
    """Return the norm that an operation ends; None where it ends none."""
    if op.name not in ("mul", "div") or len(op.inputs) != 2 or op.uses or op.detail.constant:
        return None
    behind = _behind(graph, op)
    if behind is None:
        return None
    value, steps = behind
    degrees = {value: 1.0}
    for step in steps:
        degree = _degree(step, degrees)
        if degree is None:
            return None
        degrees.update(dict.fromkeys(step.outputs, degree))
    signal, statistic = _sides(graph, op, math.prod(graph.sizes[value]), degrees)
    if signal is None or degrees[op.outputs[0]] != 0.0:
        return None
    axes, groups = _statistics(graph, value, statistic, degrees)
    maker = graph.producers.get(signal)
    centred = maker is not None and signal != value and maker.name == "sub"
    if not axes:
        return None
    return Norm(value, op, axes, groups, centred, second_of(graph, value, steps))


def _behind(graph: Graph, op: Op) -> tuple[int, list[Op]] | None:
    """Return the one value that an operation comes from by some steps, one of them a statistic."""
    steps, waiting = {op.index: op}, set(op.inputs)
    while len(steps) < STEPS:
        newest = max(waiting)
        if len(waiting) == 1 and any(s.name in ("mean", "sum") for s in steps.values()):
            return newest, [steps[index] for index in sorted(steps)]
        maker = graph.producers.get(newest)
        if maker is None or maker.uses or len(maker.outputs) != 1 or not maker.inputs:
            return None
        if maker.kind not in ("move", "other"):
            return None
        steps[maker.index] = maker
        waiting = waiting - {newest} | set(maker.inputs)
    return None


def _degree(op: Op, degrees: dict[int, float]) -> float | None:
    """Return the power of the signal that an operation's result grows with; None where it has none.

    What is added to a variance, or bounds it, is small.
    """
    found = [degrees[value] for value in op.inputs]
    if op.kind == "move" or op.name in SAME:
        return found[0]
    if op.name in DEGREES:
        return found[0] * DEGREES[op.name]
    if op.name == "pow" and op.replay is not None:
        return _power(op, found[0])
    if op.name in ("add", "sub"):
        return found[0] if len(set(found)) == 1 else None
    if op.name in ("mul", "div"):
        if len(found) == 1:
            alone = _is_inverse(op)
            squared = op.name == "mul" and op.mixed is None and _power(op, 1.0) == 2.0
            return -found[0] if alone else found[0] * (2.0 if squared else 1.0)
        return found[0] + (found[1] if op.name == "mul" else -found[1])
    return None


def _power(op: Op, degree: float) -> float | None:
    """Return the degree behind a power of single elements, found by its values at two points."""
    import numpy as np

    if op.replay is None:
        return degree
    one, two = op.play([np.array([1.0, 2.0])])[0]
    ratio = math.log2(abs(two / one)) if one and two else math.nan
    return degree * round(ratio, 6) if math.isfinite(ratio) else None


def _is_inverse(op: Op) -> bool:
    return op.name == "div" and _power(op, 1.0) == -1.0


def _sides(graph: Graph, op: Op, whole: int, degrees: dict[int, float]) -> tuple[int | None, int]:
    """Return what has the signal's size and all of its elements, and what the other side is."""
    first, second = op.inputs
    for signal, statistic in ((first, second), (second, first)):
        large = math.prod(graph.sizes[signal]) == whole
        grows = -1.0 if op.name == "mul" else 1.0
        fits = large and degrees[signal] == 1.0 and degrees[statistic] == grows
        if fits and (op.name == "mul" or signal == first):
            return signal, statistic
    return None, first


def _statistics(
    graph: Graph, value: int, statistic: int, degrees: dict[int, float]
) -> tuple[frozenset[int], int]:
    """Return the axes of a value that a statistic runs over, and the groups of its units."""
    waiting, seen = [statistic], set[int]()
    while waiting:
        at = waiting.pop()
        op = graph.producers.get(at)
        if at == value or at in seen or op is None:
            continue
        seen.add(at)
        if op.name in ("mean", "sum") and degrees.get(op.outputs[0], 0.0) > 0:
            return _axes(graph, value, op)
        waiting += op.inputs
    return frozenset(), 0


def _axes(graph: Graph, value: int, op: Op) -> tuple[frozenset[int], int]:
    """Return the axes of a value that a sum of something of its size runs over, and the groups."""
    read, size = graph.sizes[op.inputs[0]], graph.sizes[value]
    if len(read) == len(size):
        return frozenset(op.detail.dims), 0
    last = len(size) - 1  # the units were taken apart: groups, and the units of each
    kept = [n for axis, n in enumerate(read) if axis not in op.detail.dims]
    groups = math.prod(kept[1:]) if len(kept) > 1 else 1
    summed = math.prod(read[axis] for axis in op.detail.dims)
    whole = summed * groups == math.prod(size[1:])
    return (
        (frozenset(range(1, last + 1)), groups)
        if whole and size[last] % groups == 0
        else (frozenset(), 0)
    )
