"""Leaves out what nothing reads: the steps of what was recorded as one operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isoinit._reading.graph import Op


def pruned(ops: Sequence[Op], outputs: Sequence[int]) -> list[Op]:
    """Return the operations that lead to an output, or use a parameter, with new indices.

    What reads a layer that leads to no output is kept, too: it tells what the layer is for.
    """
    needed = set(outputs)
    live = [op for op in reversed(ops) if _is_needed(op, needed)]
    read = {value for op in live for value in op.inputs} | set(outputs)
    alone = {value for op in live if op.uses for value in op.outputs if value not in read}
    needed = set(outputs)
    for op in ops if alone else ():
        if not alone.isdisjoint(op.inputs):
            alone.update(op.outputs)
            needed.update(op.outputs)
    kept = [op for op in reversed(ops) if _is_needed(op, needed)]
    return [replace(op, index=index) for index, op in enumerate(reversed(kept))]


def _is_needed(op: Op, needed: set[int]) -> bool:
    """Return whether an operation is needed, and take down that what it reads is needed then."""
    found = bool(op.uses) or not needed.isdisjoint(op.outputs)
    if found:
        needed.update(op.inputs)
    return found
