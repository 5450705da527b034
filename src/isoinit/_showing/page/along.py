"""Layers and parameters by kind, in charts and in tables."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence

from isoinit._showing.folding import Kind, kinds, together
from isoinit._showing.page.facts import Cell, Curve, Fold, Sizes

SINGLE = "single layers"  # those that no other is like
SHOWN = 3  # texts of one kind's rows, where they differ


def alike(names: Sequence[str], like: Sequence[Hashable]) -> list[Kind[int]]:
    """Return the places of what is of one kind: names differ in numbers alone, and `like` agrees."""
    return kinds(range(len(names)), lambda i: names[i], lambda i: like[i])


def by_kind(groups: Sequence[Kind[int]], values: Sizes, group: str = "") -> list[Curve]:
    """Return one curve a kind of layers; the layers of which there is one become points.

    Args:
        groups: the places of each kind.
        values: by place; kinds without any are left out.
        group: what all these curves are one of several of.
    """
    known = [k for k in groups if any(values[i] is not None for i in k.items)]
    curves = [
        Curve(k.name, [values[i] for i in k.items], at=k.items, group=group)
        for k in known
        if len(k.items) > 1
    ]
    single = sorted(k.items[0] for k in known if len(k.items) == 1)
    if single:
        said = [values[i] for i in single]
        curves.append(Curve(SINGLE, said, at=single, group=group, points=True))
    return curves


def folds(groups: Sequence[Kind[int]], rows: Sequence[Sequence[Cell]]) -> list[Fold]:
    """Return the kinds of rows of which there are several, each with ranges of what its rows hold."""
    return [
        Fold(
            k.name,
            k.items,
            [in_one(cells) for cells in list(zip(*[rows[i] for i in k.items], strict=True))[1:]],
        )
        for k in groups
        if len(k.items) > 1
    ]


def in_one(cells: Sequence[Cell]) -> Cell | tuple[float, float]:
    """Return one cell for several: the least and the largest of numbers, texts together."""
    found = list(dict.fromkeys(cell for cell in cells if cell is not None))
    if len(found) < 2:
        return found[0] if found else None
    if all(isinstance(cell, float | int) for cell in found):
        return _ranged([float(cell) for cell in found])
    texts = list(map(str, found))
    if len(heads := {text.partition("(")[0] for text in texts}) == 1:
        return heads.pop()  # of initializers whose options differ
    if len({re.sub(r"\d+", "#", text) for text in texts}) == 1:
        return together(texts)
    return ", ".join(texts[:SHOWN]) + ", …" * (len(texts) > SHOWN)


def _ranged(values: Sequence[float]) -> float | tuple[float, float]:
    """The least and the largest of numbers that differ; NaN where one is no number."""
    return math.nan if any(map(math.isnan, values)) else (min(values), max(values))
