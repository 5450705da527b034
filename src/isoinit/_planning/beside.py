"""How large a learned vector must be, so that it is as large as what it joins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from isoinit._planning.propagation import Signal
from isoinit._reading.graph import PRODUCTS, SUMS, Graph, Op

JOINING = frozenset({"add", "sub", "cat", "concat", "stack", "where"})
ONE_ROW = 1e-9  # a variance of indices below which all are the same
FAR = 32  # operations that are searched for what a vector joins


class _Term(NamedTuple):
    """One of all that is summed up, and what that multiplies its second moment by."""

    value: int
    share: float


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

    Where it joins the signal, in a sum or side by side, it is then as large as what stands there: in
    a sum of more than two, as the largest of the others, in whatever order they are added. It may be
    moved, normalized, multiplied by constants and added to other learned vectors first (positions
    by row and by column): constants are divided out, and learned vectors share the size. What goes
    to layers of its own first has unit size, as rows of other tables do. None also for what joins
    attention scores.

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
                if reader.name in SUMS:
                    return _in_sum(graph, reader, op.outputs[0], at, signals)
                return signals[beside].second / (at.scale * at.parts)
            if beside is None:
                shared = sum(_sharing(graph, found) for found in learned)
                waiting += _onward(graph, reader, at, shared)
    return None


def second_of_table(
    graph: Graph, op: Op, signals: Mapping[int, Signal], size: Callable[[Op], float]
) -> float | None:
    """Return the second moment that rows need which are looked up by the example (types, segments).

    None for the usual size: where they are added to nothing known, or to rows of that size alone, and
    for rows that the forward scales themselves, which others follow. Beside rows that it scales
    (tokens times √width), or that are also an output layer, they are as large as these, in whatever
    order they are added. Beside a signal, or a table that is not trained, they are as large as that.

    Args:
        graph: what the model does.
        op: the lookup.
        signals: the signals known so far.
        size: gives the usual second moment of the rows of a lookup, whatever they are added to.
    """
    value, scaled = op.outputs[0], 1.0
    while len(readers := graph.consumers.get(value, [])) == 1:
        reader = readers[0]
        if reader.name in SUMS and (len(reader.inputs) > 1 or _added(reader)):
            break
        scale = _scale(reader)
        if scale is None:
            return None
        value, scaled = reader.outputs[0], scaled * scale
    else:
        return None
    share, rows, fixed = 1.0, list[float](), _added(reader)
    for term in _terms(graph, reader):
        if term.value == value:
            share = term.share
        elif (table := _table_under(graph, term.value)) is not None:
            rows.append(size(table[0]) * table[1] * term.share)
        elif (second := _not_learned(graph, term.value, signals)) is not None:
            fixed.append(second * term.share)
    if fixed:
        return max(fixed) / (share * scaled)
    usual = size(op)
    rows = [second for second in rows if not math.isclose(second, usual, rel_tol=1e-6)]
    return max(rows) / share if rows and scaled == 1 else None


def _added(op: Op) -> list[float]:
    """Return the second moment of a constant table that an operation adds; [] where it adds none."""
    mean, second = op.detail.constant or (0.0, 0.0)
    return [second] if second > mean**2 * (1 + 1e-9) and not op.uses else []


def _not_learned(graph: Graph, value: int, signals: Mapping[int, Signal]) -> float | None:
    """Return the second moment of a signal, or of a part of a buffer; None for what is learned.

    What a norm layer makes of learned vectors has the size that the norm gives.
    """
    maker = graph.producers.get(graph.trunk(value))
    if maker is not None and maker.index in graph.norms:
        return signals[value].second if value in signals else 1.0
    if value in signals and not _learned(graph, value):
        return signals[value].second
    while (maker := graph.producers.get(value)) is not None and maker.kind == "move":
        value = maker.inputs[0]
    given = graph.given.get(value)
    return given.second if given is not None and given.fixed else None


def _in_sum(
    graph: Graph, join: Op, vector: int, at: _Arriving, signals: Mapping[int, Signal]
) -> float | None:
    """Return the second moment that a vector needs in a sum, as the largest of all that it joins."""
    share, parts, largest = 1.0, at.parts, 0.0
    shares = _sharing(graph, [vector]) > 0
    for term in _terms(graph, join):
        learned = _learned(graph, term.value)
        if vector in learned:
            share = term.share
        elif learned:
            parts += _sharing(graph, learned)
        elif term.value in signals:
            largest = max(largest, signals[term.value].second * term.share)
    return largest / (at.scale * (parts if shares else 1) * share)


def _terms(graph: Graph, join: Op) -> list[_Term]:
    """Return all that ends up in one sum with the inputs of an addition."""
    root = join
    while (above := _only_sum_of(graph, root.outputs[0])) is not None:
        root = above
    return list(_below(graph, root, 1.0))


def _only_sum_of(graph: Graph, value: int) -> Op | None:
    """Return the addition that alone reads a value, perhaps moved; None for any other reader."""
    while len(readers := graph.consumers.get(value, [])) == 1:
        (reader,) = readers
        if reader.name in SUMS and len(reader.inputs) > 1:
            return reader
        if reader.kind != "move":
            break
        value = reader.outputs[0]
    return None


def _below(graph: Graph, join: Op, share: float) -> Iterator[_Term]:
    """Yield what an addition adds up, and what other additions of looked-up vectors add to that."""
    for value in dict.fromkeys(join.inputs):
        part = share * _share(join, value)
        maker = graph.producers.get(value)
        while maker is not None and maker.kind == "move" and len(maker.inputs) == 1:
            maker = graph.producers.get(maker.inputs[0])
        if maker is not None and maker.name in SUMS and len(maker.inputs) > 1:
            alone = _only_sum_of(graph, maker.outputs[0]) is join and not _learned(graph, value)
            if alone and any(_is_looked_up(graph, of) for of in maker.inputs):
                yield from _below(graph, maker, part)
                continue
        yield _Term(value, part)


def _is_looked_up(graph: Graph, value: int) -> bool:
    """Return whether a value is a learned vector, or a row of a table, perhaps scaled."""
    return bool(_learned(graph, value)) or _table_under(graph, value) is not None


def _table_under(graph: Graph, value: int) -> tuple[Op, float] | None:
    """Return the lookup by the example behind a value, and what scaled its second moment since."""
    total = 1.0
    while (maker := graph.producers.get(value)) is not None:
        if maker.kind == "lookup":
            return (maker, total) if maker.inputs else None
        scale = _scale(maker)
        if scale is None or len(maker.inputs) != 1:
            return None
        total, value = total * scale, maker.inputs[0]
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
    """Return what an operation multiplies a second moment by: one that moves, or a constant factor.

    None for any other operation, and for a constant that is not known or zero.
    """
    if op.kind == "move" or op.is_neutral:
        return 1.0
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


def _learned(graph: Graph, value: int) -> list[int]:
    """Return the learned vectors that a value is made of, if of nothing else; none for any other."""
    found, waiting, seen = list[int](), [value], set[int]()
    while waiting:
        op = graph.producers.get(waiting.pop())
        if op is None:
            return []
        if op.kind == "lookup" and not op.inputs:
            found += op.outputs
        elif op.kind not in ("move", "other", "norm") or not op.inputs:
            return []
        elif op.index not in seen:
            seen.add(op.index)
            waiting.extend(op.inputs)
    return found


def _sharing(graph: Graph, vectors: Sequence[int]) -> int:
    """Return how many learned vectors are not the same row at all places, as the only type is."""
    indices = [graph.producers[value].detail.constant for value in vectors]
    return sum(at is None or at[1] - at[0] ** 2 >= ONE_ROW for at in indices)


def _is_score(graph: Graph, value: int) -> bool:
    """Return whether a value is a product of two signals, as attention scores are."""
    maker = graph.producers.get(graph.trunk(value))
    return maker is not None and maker.kind == "other" and maker.name in PRODUCTS
