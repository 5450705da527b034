"""How large a learned vector must be, so that it is as large as what it joins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from isoinit._planning.propagation import Signal
from isoinit._reading.graph import PRODUCTS, SUMS, Graph, Op

JOINING = frozenset({"add", "sub", "cat", "concat", "stack", "where"})
FAR = 32  # operations that are searched for what a vector joins


class _Arriving(NamedTuple):
    """A learned vector on its way to what it joins.

    Attributes:
        value: the value that holds it.
        scale: what its second moment was multiplied by.
        parts: how many learned vectors, itself among them, were added up.
    """

    value: int
    scale: float
    parts: int


def second_beside(graph: Graph, op: Op, signals: Mapping[int, Signal]) -> float | None:
    """Return the second moment that a looked-up vector needs; None where it joins nothing known.

    Where it joins the signal, in a sum or side by side, it is then as large as what stands there.
    It may be moved, normalized, multiplied by constants and added to other learned vectors first
    (positions by row and by column): constants are divided out, and a sum of vectors shares the
    size. What goes to layers of its own first has unit size, as rows of other tables do. None also
    for what joins attention scores.

    Args:
        graph: what the model does.
        op: the lookup.
        signals: the signals known so far.
    """
    if _feeds_maps_alone(graph, op.outputs[0]):
        return 1.0
    waiting = [_Arriving(op.outputs[0], 1.0, 1)]
    for _ in range(FAR):
        if not waiting:
            return None
        at = waiting.pop(0)
        for reader in graph.consumers.get(at.value, []):
            others = [v for v in reader.inputs if v != at.value]
            learned = [_learned(graph, value) for value in others]
            beside = next((v for v, n in zip(others, learned, strict=True) if not n), None)
            if beside is not None and reader.name in JOINING and beside in signals:
                if _is_score(graph, beside):
                    return None
                return signals[beside].second / (at.scale * at.parts * _share(reader, at.value))
            if beside is None:
                waiting += _onward(graph, reader, at, sum(learned))
    return None


def _feeds_maps_alone(graph: Graph, value: int) -> bool:
    """Return whether all that reads a value, perhaps moved, are linear maps, such as attention's."""
    waiting, found = [value], False
    while waiting:
        for reader in graph.consumers.get(waiting.pop(), []):
            if reader.kind == "move":
                waiting.extend(reader.outputs)
            elif reader.kind in ("map", "attention"):
                found = True
            else:
                return False
    return found


def _share(join: Op, value: int) -> float:
    """Return what a sum multiplies the second moment of one of its terms by: `add(x, y, alpha=2)`."""
    if join.name not in SUMS or join.replay is None:
        return 1.0
    whole = join.play([np.full(1, float(v == value)) for v in dict.fromkeys(join.inputs)])[0]
    return float(np.ravel(whole)[0]) ** 2 or 1.0


def _onward(graph: Graph, reader: Op, at: _Arriving, learned: int) -> Iterator[_Arriving]:
    """Yield where a vector goes through an operation that reads nothing but learned vectors."""
    parts = at.parts + (learned if reader.name in SUMS else 0)
    if reader.index in graph.norms:
        yield _Arriving(reader.outputs[0], 1.0, 1)
    elif reader.kind == "move" or reader.name in JOINING or reader.is_neutral:
        yield from (_Arriving(value, at.scale, parts) for value in reader.outputs)
    elif (scale := _scale(reader)) is not None:
        yield _Arriving(reader.outputs[0], at.scale * scale, parts)


def _scale(op: Op) -> float | None:
    """Return what a product with a constant multiplies a second moment by.

    None for any other operation, and for a constant that is not known or zero.
    """
    if op.name not in ("mul", "div") or len(op.inputs) != 1 or op.uses:
        return None
    if op.replay is not None:
        found = float(np.ravel(op.play([np.ones(1)])[0])[0]) ** 2
    elif op.detail.constant is not None:
        found = op.detail.constant[1]
        found = found if op.name == "mul" or not found else 1 / found
    else:
        return None
    return found if 0 < found < np.inf else None


def _learned(graph: Graph, value: int) -> int:
    """Return how many learned vectors a value is made of, if of nothing else; 0 for any other."""
    found, waiting, seen = 0, [value], set[int]()
    while waiting:
        op = graph.producers.get(waiting.pop())
        if op is None:
            return 0
        if op.kind == "lookup" and not op.inputs:
            found += 1
        elif op.kind not in ("move", "other", "norm") or not op.inputs:
            return 0
        elif op.index not in seen:
            seen.add(op.index)
            waiting.extend(op.inputs)
    return found


def _is_score(graph: Graph, value: int) -> bool:
    """Return whether a value is a product of two signals, as attention scores are."""
    maker = graph.producers.get(graph.trunk(value))
    return maker is not None and maker.kind == "other" and maker.name in PRODUCTS
