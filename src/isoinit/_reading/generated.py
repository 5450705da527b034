"""Weights that are made of signals: what a product of signals sums over, other units made.

A generator's units are both axes of a matrix: over some of them a product of signals sums, others are
left (Ha et al. 2017). The heads of attention are no such axis: they number independent products. A
parameter may be such a matrix too, and a signal scale it: a modulated weight (Karras et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from isoinit._reading.graph import SUMS, Graph, Op, Use

FAR = 16  # operations between a layer and the product that its output is a weight of
LINEAR = frozenset({"mul", "div", "add", "sub"})


@dataclass(frozen=True)
class Factor:
    """A signal as one side of a product that sums over axes of both sides.

    Attributes:
        value: its number.
        summed: its axes that are summed over.
        free: its axes that the result has of it alone, and those of products before.
        linear: whether it goes through products and sums alone from here to that product.
        added: whether a constant, such as the identity, is added to it on that way.
    """

    value: int
    summed: frozenset[int]
    free: frozenset[int]
    linear: bool = True
    added: bool = False


@dataclass(frozen=True)
class Scale:
    """What a signal is multiplied by, made of parameters.

    Attributes:
        shape: its own.
        as_weight: its uses as a weight, given the axes that it sums over and those that it makes.
    """

    shape: tuple[int, ...]
    as_weight: Callable[[Sequence[int], Sequence[int]], tuple[Use, ...]]


def generates(graph: Graph, op: Op, made: Factor) -> bool:
    """Whether an operation is a layer whose units are axes of both kinds of a factor."""
    if op.kind != "map" or not op.uses:
        return False
    units = units_of_map(graph, op)
    return bool(made.summed & units) and bool(made.free & units)


def with_modulated(graph: Graph, scales: Mapping[int, Scale]) -> Graph:
    """Return a graph in which parameters that are scaled into a weight are weights, and no scales.

    Args:
        graph: what a run showed.
        scales: what multiplies the signal, by the index of the operation.
    """
    changed: dict[int, Op] = {}
    for op in graph.ops if scales else ():
        for factor in factors(graph, op):
            makers = list(reached(graph, factor))
            whole = any(generates(graph, *one) for one in makers)
            for maker, made in makers:
                if maker.index in scales and made.linear:
                    uses = _as_weight(graph, maker, made, scales[maker.index], whole)
                    if uses:
                        changed[maker.index] = replace(maker, uses=uses)
    if not changed:
        return graph
    return replace(graph, ops=tuple(changed.get(op.index, op) for op in graph.ops))


def _as_weight(graph: Graph, op: Op, made: Factor, scale: Scale, whole: bool) -> tuple[Use, ...]:
    """Return a scale that has axes of both kinds of a factor as a weight; () if it has not.

    What it scales has the units of one kind alone, or is a `whole` generated weight: queries have
    places along the other.
    """
    rank = len(graph.sizes[op.outputs[0]])
    signal = (1,) * rank + graph.sizes[op.inputs[0]]
    places = {a: a + rank - len(scale.shape) for a, n in enumerate(scale.shape) if n > 1}
    in_ = [axis for axis, at in places.items() if at in made.summed]
    out = [axis for axis, at in places.items() if at in made.free]
    apart = all(signal[places[axis] - rank] == 1 for axis in out)
    return scale.as_weight(in_, out) if in_ and out and (apart or whole) else ()


def factors(graph: Graph, op: Op) -> Iterator[Factor]:
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


def inner_product(graph: Graph, op: Op) -> list[Factor]:
    """Return both signals of a product that sums over axes of each; [] if an operation is none."""
    sides = list(factors(graph, op))
    return sides if len(sides) == 2 and all(side.summed for side in sides) else []


def terms(graph: Graph, side: Factor) -> int:
    """Return how many products an inner product sums."""
    size = graph.sizes[side.value]
    return math.prod(size[axis] for axis in side.summed)


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


def reached(graph: Graph, factor: Factor) -> Iterator[tuple[Op, Factor]]:
    """Yield what a factor was made by, back to the nearest layers, with the factor as each left it."""
    waiting, seen = [factor], {-1}
    while waiting and len(seen) <= FAR:
        factor = waiting.pop(0)
        op = graph.producers.get(factor.value)
        if op is None or op.index in seen or not (factor.summed or factor.free):
            continue
        seen.add(op.index)
        yield op, factor
        if op.kind != "map":
            waiting += _behind(graph, op, factor)


def _behind(graph: Graph, op: Op, factor: Factor) -> Iterator[Factor]:
    """Yield what an operation read, with the axes that become those of its result."""
    if op.kind == "move" and len(op.inputs) == 1 and op.detail.axes is not None:
        yield _before(op.inputs[0], factor, dict(enumerate(op.detail.axes)))
    elif op.kind == "other" and _multiplies(op):
        for one, becomes in zip(_of_product(op), op.detail.becomes, strict=True):
            old = {new: (axis,) for axis, new in enumerate(becomes) if new is not None}
            before = _before(one.value, factor, old)
            yield replace(before, free=before.free | one.summed)
    elif op.kind == "other":
        made = graph.sizes[op.outputs[0]]
        for value in op.inputs:
            size = graph.sizes[value]
            behind = len(made) - len(size)
            if behind >= 0 and all(n in (1, made[axis + behind]) for axis, n in enumerate(size)):
                spread = {axis + behind: (axis,) for axis, n in enumerate(size) if n > 1}
                yield replace(
                    _before(value, factor, spread),
                    linear=factor.linear and op.name in LINEAR,
                    added=factor.added or (op.name in SUMS and op.detail.constant is not None),
                )


def _before(value: int, factor: Factor, old: Mapping[int, Iterable[int]]) -> Factor:
    """Return a factor as a value that became it, given the axes that each of its axes was."""
    summed, free = (
        frozenset(axis for new in axes for axis in old.get(new, ()))
        for axes in (factor.summed, factor.free)
    )
    return Factor(value, summed, free, factor.linear, factor.added)


def units_of_map(graph: Graph, op: Op) -> frozenset[int]:
    """Return the axes of a layer's output along which its units lie."""
    size, layout = graph.sizes[op.outputs[0]], op.uses[0].whole
    out = tuple(layout.grid[axis] for axis in layout.out)
    count = len(size)
    if out and not layout.kernel and size[count - len(out) :] == out:
        return frozenset(range(count - len(out), count))
    return frozenset({count - 1 - len(layout.kernel)})
