"""Weights that layers compute: a product of signals sums over units that one layer made.

A generator's units are both axes of a matrix: over some of them a product of signals sums, others are
left (Ha et al. 2017). The heads of attention are no such axis: they number independent products.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from isoinit._reading.graph import Graph, Op

FAR = 16  # operations between a layer and the product that its output is a weight of


@dataclass(frozen=True)
class Factor:
    """A signal as one side of a product that sums over axes of both sides.

    Attributes:
        value: its number.
        summed: its axes that are summed over.
        free: its axes that the result has of it alone, and those of products before.
    """

    value: int
    summed: frozenset[int]
    free: frozenset[int]


def generated_weights(graph: Graph) -> Iterator[tuple[str, float]]:
    """Yield the weights of layers that make weights, and how many inputs such a weight sums over.

    The last product that a weight serves in comes first: there it meets the signal.
    """
    for op in reversed(graph.ops):
        for factor in _factors(graph, op):
            size = graph.sizes[factor.value]
            terms = math.prod(size[axis] for axis in factor.summed)
            for maker in _makers(graph, factor):
                yield from ((u.parameter, terms) for u in maker.uses if u.slot == "weight")


def _factors(graph: Graph, op: Op) -> Iterator[Factor]:
    """Yield the signals that an operation multiplies with each other and sums over."""
    if _multiplies(op):
        yield from _of_product(op)
    product = graph.producers.get(op.inputs[0]) if op.name == "sum" and op.inputs else None
    if product is not None and product.name == "mul" and len(product.inputs) == 2:
        sizes = [graph.sizes[value] for value in product.inputs]
        rank = len(graph.sizes[product.outputs[0]])
        for value, size, other in zip(product.inputs, sizes, sizes[::-1], strict=True):
            spread = {axis for axis, length in enumerate(size) if length > 1}
            summed = {axis for axis in spread if axis + rank - len(size) in op.detail.dims}
            shared = {axis + len(size) - len(other) for axis, n in enumerate(other) if n > 1}
            yield Factor(value, frozenset(summed), frozenset(spread - summed - shared))


def _multiplies(op: Op) -> bool:
    """Whether an operation is a product of two signals that sums over axes of both."""
    return len(op.detail.becomes) == 2 <= len(op.inputs) and not op.uses  # a bias comes third


def _of_product(op: Op) -> Iterator[Factor]:
    """Yield both sides of a product."""
    sides = op.detail.becomes
    for value, mine, other in zip(op.inputs, sides, sides[::-1], strict=False):
        summed = frozenset(axis for axis, new in enumerate(mine) if new is None)
        free = frozenset(axis for axis, new in enumerate(mine) if new is not None) - {
            axis for axis, new in enumerate(mine) if new in other
        }
        yield Factor(value, summed, free)


def _makers(graph: Graph, factor: Factor) -> Iterator[Op]:
    """Yield the layers whose units are axes of both kinds of a factor."""
    waiting, seen = [factor], {-1}
    while waiting and len(seen) <= FAR:
        factor = waiting.pop(0)
        op = graph.producers.get(factor.value)
        if op is None or op.index in seen or not factor.summed:
            continue
        seen.add(op.index)
        if op.kind != "map":
            waiting += _behind(graph, op, factor)
        elif op.uses and factor.summed <= (units := _units(graph, op)) and factor.free & units:
            yield op


def _behind(graph: Graph, op: Op, factor: Factor) -> Iterator[Factor]:
    """Yield what an operation read, with the axes that become those of its result."""
    if op.kind == "move" and len(op.inputs) == 1 and op.detail.axes is not None:
        yield _before(op.inputs[0], factor, dict(enumerate(op.detail.axes)))
    elif op.kind == "other" and _multiplies(op):
        for one, becomes in zip(_of_product(op), op.detail.becomes, strict=True):
            old = {new: (axis,) for axis, new in enumerate(becomes) if new is not None}
            before = _before(one.value, factor, old)
            yield Factor(before.value, before.summed, before.free | one.summed)
    elif op.kind == "other":
        made = graph.sizes[op.outputs[0]]
        for value in op.inputs:
            size = graph.sizes[value]
            behind = len(made) - len(size)
            if behind >= 0 and all(n in (1, made[axis + behind]) for axis, n in enumerate(size)):
                spread = {axis + behind: (axis,) for axis, n in enumerate(size) if n > 1}
                yield _before(value, factor, spread)


def _before(value: int, factor: Factor, old: Mapping[int, Iterable[int]]) -> Factor:
    """Return a factor as a value that became it, given the axes that each of its axes was."""
    summed, free = (
        frozenset(axis for new in axes for axis in old.get(new, ()))
        for axes in (factor.summed, factor.free)
    )
    return Factor(value, summed, free)


def _units(graph: Graph, op: Op) -> frozenset[int]:
    """Return the axes of a layer's output along which its units lie."""
    size, layout = graph.sizes[op.outputs[0]], op.uses[0].whole
    out = tuple(layout.grid[axis] for axis in layout.out)
    count = len(size)
    if out and not layout.kernel and size[count - len(out) :] == out:
        return frozenset(range(count - len(out), count))
    return frozenset({count - 1 - len(layout.kernel)})
