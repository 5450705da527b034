"""Norm layers that are spelled out in steps, as one operation with its scale and shift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isoinit._reading.graph import Graph, Op, ReplayError, run_ops
from isoinit._reading.jax.prune import pruned


def with_norms(graph: Graph) -> Graph:
    """Return a graph in which norm layers are single operations, as torch's own are.

    A norm whose statistics run over the examples is a batch norm; one that takes away no mean is an
    RMS norm. Scale and shift that follow at once belong to it.
    """
    ops = {op.index: op for op in graph.ops}
    gone: set[int] = set()
    for index, value in graph.norms.items():
        last, uses = ops[index], list(ops[index].uses)
        while (step := _affine(graph, last)) is not None:
            slot = "scale" if step.uses[0].slot == "scale" else "shift"
            uses += [replace(use, slot=slot) for use in step.uses]
            gone.add(step.index)
            last = step
        name = _kind(graph, index, value)
        if name is None:
            gone -= {
                step.index for step in ops.values() if step.index in gone and step.index > index
            }
            continue
        ops[index] = replace(
            ops[index],
            name=name,
            kind="norm",
            inputs=(value,),
            outputs=last.outputs,
            uses=tuple(uses),
            replay=None,
            pull=None,
            mixed=None,
            unplayed="",
        )
    left = [op for index, op in ops.items() if index not in gone]
    order = sorted(left, key=lambda op: (max(op.outputs, default=-1), op.index))
    return replace(graph, ops=tuple(pruned(order, graph.outputs)))


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


def _kind(graph: Graph, index: int, value: int) -> str | None:
    """Return what kind of norm ends at an operation; None where its statistics are of another kind."""
    axes, steps = _behind(graph, index, value)
    rank = len(graph.sizes[value])
    if not axes:
        return None
    if 0 in axes and rank > 1 and rank - 1 not in axes:
        return "batch_norm"
    if rank - 1 not in axes:
        return None
    given = np.random.default_rng(0).standard_normal((3,) * (rank - 1) + (64,)) + 2.0
    try:
        made = run_ops(steps, {value: given})[graph.ops[index].outputs[0]]
    except ReplayError:  # it was found to be a norm by the same steps
        return None
    return "layer_norm" if abs(float(np.mean(made))) < 1e-3 else "rms_norm"


def _behind(graph: Graph, index: int, value: int) -> tuple[set[int], list[Op]]:
    """Return the axes of the statistics of a norm in steps, and the steps."""
    axes: set[int] = set()
    steps: dict[int, Op] = {}
    waiting = [op for op in graph.ops if op.index == index]
    while waiting:
        op = waiting.pop()
        if op.index in steps:
            continue
        steps[op.index] = op
        if op.name in ("mean", "sum", "var"):
            axes |= set(op.detail.dims)
        waiting += [
            maker for v in op.inputs if v != value and (maker := graph.producers.get(v)) is not None
        ]
    return axes, [steps[i] for i in sorted(steps)]
