"""Leaves out what nothing reads: the steps of what was recorded as one operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isoinit._reading.graph import Op


def pruned(ops: Sequence[Op], outputs: Sequence[int]) -> list[Op]:
    """Return the operations that lead to an output, or use a parameter, with new indices."""
    kept: list[Op] = []
    needed = set(outputs)
    for op in reversed(ops):
        if op.uses or not needed.isdisjoint(op.outputs):
            kept.append(op)
            needed.update(op.inputs)
    return [replace(op, index=index) for index, op in enumerate(reversed(kept))]
