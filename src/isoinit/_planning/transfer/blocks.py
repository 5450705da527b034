"""Factors of parameters that the model uses in blocks: each block was planned by itself.

The layers that a scan goes through are stored along one axis. An optimizer has one learning rate for
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from isoinit._planning.blocks import joined
from isoinit._planning.plan import Plan
from isoinit._writing.entry import Entry
from isoinit._writing.factors import Factors
from isoinit.errors import ArgumentError, PlanError
from isoinit.initializers import Blocks, Initializer

NUMBERS = ("lr", "decay", "eps", "gauge")
DIGITS = 9  # of factors: products of the same numbers in another order are equal to within these

InBlocks = Mapping[str, tuple[int, Sequence[str]]]


def apart(plan: Plan, parts: Mapping[str, Entry], blocks: InBlocks) -> Plan:
    """Return a plan with an entry for each block, in place of those of their parameters.

    Args:
        plan: of the parameters, as the user wants it.
        parts: what was planned for the blocks, and for all other parameters.
        blocks: for each parameter that is used in blocks, the axis and the blocks' names.

    Raises:
        ArgumentError: if an override of a parameter does not say what its blocks get.
    """
    of = {part: name for name, (_, names) in blocks.items() for part in names}
    whole = joined(parts, blocks)
    found = {}
    for name, entry in parts.items():
        parent = of.get(name, name)
        mine = plan.entries.get(parent, whole[parent])
        if parent == name:
            found[name] = mine
        elif mine.initializer == whole[parent].initializer:
            found[name] = entry
        else:
            axis, names = blocks[parent]
            new = _of_block(mine, entry, axis, list(names).index(name))
            found[name] = replace(entry, initializer=new, reason=mine.reason, source=mine.source)
    return replace(plan, entries=found)


def _of_block(mine: Entry, block: Entry, axis: int, index: int) -> Initializer | None:
    """Return what an override of a parameter gives one of its blocks."""
    new = mine.initializer
    if isinstance(new, Blocks):
        return new.initializers[index]
    if new is None or block.shape[axis] == 1 or new.is_constant:
        return new
    raise ArgumentError(
        f"the override of {mine.name!r} is one initializer, but the parameter holds several "
        "kernels that grow differently. Use isoinit.Blocks with one initializer for each"
    )


def together(plan: Plan, blocks: InBlocks) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """Return a transfer's entries with those of blocks as one, and what is doubtful about these.

    Raises:
        PlanError: if one part of a parameter is for Muon, and another is not.
    """
    entries, notes = joined(plan.entries, blocks), []
    for name, (axis, parts) in blocks.items():
        known = [e.factors for part in parts if (e := plan.entries[part]).factors is not None]
        of = [factors for factors in known if factors is not None]
        if len({factors.optimizer for factors in of}) > 1:
            raise PlanError(
                f"one part of {name!r} is a hidden matrix and another is not, so neither Muon nor "
                "AdamW fits the whole. Make the transfer for 'adamw'"
            )
        first = min(of, key=lambda factors: factors.lr)
        if len({_numbers(factors) for factors in of}) > 1:
            rates = ", ".join(dict.fromkeys(f"{factors.lr:.4g}" for factors in of))
            notes.append(
                f"{name!r} is stored as one and used as several, whose factors differ (lr {rates}): "
                f"it gets those of the part that wants the smallest rate, {first.lr:.4g}"
            )
        stacked = plan.entries[parts[0]].shape[axis] == 1
        rank = len(entries[name].shape) - stacked
        entries[name] = replace(
            entries[name], factors=replace(first, decays=first.decays and rank >= 2)
        )
    return entries, tuple(notes)


def _numbers(factors: Factors) -> tuple[float, ...]:
    return tuple(float(f"{getattr(factors, name):.{DIGITS}g}") for name in NUMBERS)
