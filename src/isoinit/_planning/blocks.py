"""Entries of parameters that the model uses in blocks: each block was planned by itself.

The layers that a scan goes through are stored along one axis. What a plan says is of the parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from isoinit._writing.entry import Entry
from isoinit.initializers import Blocks
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout


def joined(
    entries: Mapping[str, Entry], blocks: Mapping[str, tuple[int, Sequence[str]]]
) -> dict[str, Entry]:
    """Return the entries with those of blocks as one for their parameter.

    Args:
        entries: of a plan, with one for each block.
        blocks: for each parameter that is used in blocks, the axis and the blocks' names.
    """
    of = {part: name for name, (_, parts) in blocks.items() for part in parts}
    found: dict[str, Entry] = {}
    for name, entry in entries.items():
        parent = of.get(name)
        if parent is None:
            found[name] = entry
        elif parent not in found:
            axis, parts = blocks[parent]
            found[parent] = _one(parent, axis, [entries[part] for part in parts])
    return found


def _one(name: str, axis: int, parts: Sequence[Entry]) -> Entry:
    """Return the entry of a parameter, given those of its blocks."""
    first = parts[0]
    shapes = [entry.shape for entry in parts]
    total = sum(shape[axis] for shape in shapes)
    shape = (*shapes[0][:axis], total, *shapes[0][axis + 1 :])
    alike = {entry.initializer for entry in parts}
    stacked = _stacked(first.layout, shape, axis)
    layout = stacked or fans.vector(shape)
    if first.initializer is None or any(entry.initializer is None for entry in parts):
        initializer = None
    elif len(alike) == 1 and stacked is not None and _same_layouts(parts):
        initializer = first.initializer
    else:
        initializers = tuple(e.initializer for e in parts if e.initializer is not None)
        initializer = Blocks(axis, initializers, tuple(e.layout for e in parts))
    roles = dict.fromkeys(entry.role for entry in parts)
    reasons = dict.fromkeys(entry.reason for entry in parts)
    return replace(
        first,
        name=name,
        role="; ".join(roles),
        initializer=initializer,
        layout=layout,
        reason=first.reason if len(reasons) == 1 else _counted([e.reason for e in parts]),
        expected=_mean([entry.expected for entry in parts]),
        expected_gradient=_mean([entry.expected_gradient for entry in parts]),
        target=_mean([entry.target for entry in parts]),
        must_differ=any(entry.must_differ for entry in parts),
    )


def _counted(reasons: Sequence[str]) -> str:
    """Return the reasons of blocks, each with the blocks that it is for."""
    of: dict[str, list[int]] = {}
    for index, reason in enumerate(reasons):
        of.setdefault(reason, []).append(index)
    return "; ".join(f"{_places(where)}: {reason}" for reason, where in of.items())


def _places(where: Sequence[int]) -> str:
    if len(where) == 1:
        return f"block {where[0]}"
    whole = list(where) == list(range(where[0], where[-1] + 1))
    return f"blocks {where[0]} to {where[-1]}" if whole else f"blocks {', '.join(map(str, where))}"


def _same_layouts(parts: Sequence[Entry]) -> bool:
    return len({entry.layout for entry in parts}) == 1


def _stacked(layout: Layout, shape: tuple[int, ...], axis: int) -> Layout | None:
    """Return the layout of a stack of alike blocks of one element along an axis; None of others."""
    if not layout.is_map:
        return fans.vector(shape)
    if layout.shape[axis] != 1 or axis or layout.grid[0] != 1 or 0 not in layout.stack:
        return None
    return replace(layout, shape=shape, grid=(shape[0], *layout.grid[1:]))


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the root mean square of what is expected of blocks; None where one is not known."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return math.sqrt(sum(value**2 for value in known) / len(known))
