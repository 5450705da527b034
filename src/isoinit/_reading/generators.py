"""Generators: layers whose outputs are the weights and biases of another layer (Ha et al. 2017).

Where such a layer has a bias, that can hold the weights that a layer of its own would start with, the
same for all examples, and the layer's own weight starts at zero (Beck et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from isoinit._reading.activation import Activation
from isoinit._reading.generated import FAR, Factor, factors, generates, reached, units_of_map
from isoinit._reading.graph import SUMS, Graph, Op
from isoinit._reading.pointwise import feeding, following
from isoinit._reading.scores import makes_scores

FAR_SCORES = 12  # operations: scores may be capped, masked and rearranged before their softmax


@dataclass(frozen=True)
class Generator:
    """A layer whose outputs are the weights of another.

    Attributes:
        op: the layer.
        terms: how many inputs such a weight sums over.
        second: the second moment of these, if they are a function of a unit signal.
        bias: the parameter that the layer adds, of which nothing else is made; "" where it adds none,
            and where more than products and sums makes the weights of its outputs.
        estimate: whether they give one number, with which the model ends.
        added: whether a constant is added to them, such as the identity, which they then start as.
    """

    op: Op
    terms: float
    second: float
    bias: str
    estimate: bool
    added: bool


def generators(graph: Graph) -> list[Generator]:
    """Return the layers that make weights, each once.

    A layer may reach several products, as what it makes is part of the signal later. The one that it
    reaches through products and sums alone counts, and of several the last: there its weights meet
    the signal. What makes weights also makes those of a single input or output, which alone would be
    one of two vectors of an inner product.
    """
    straight, bent, single = (dict[int, Generator]() for _ in range(3))
    for op in reversed(graph.ops):
        sides = list(factors(graph, op))
        if sides and makes_scores(graph, op, FAR_SCORES):
            continue
        for factor, other in zip(sides, sides[::-1], strict=True):
            for maker, made in reached(graph, factor):
                if generates(graph, maker, made):
                    kind = straight if made.linear else bent
                elif made.linear and _is_of_one(graph, maker, made, factor):
                    kind = single
                else:
                    continue
                if maker.index not in kind:
                    kind[maker.index] = _generator(graph, (maker, made), op, (factor, other))
    found = bent | straight
    read = {_read(graph, one.op) for one in found.values()}
    return list(({i: g for i, g in single.items() if _read(graph, g.op) in read} | found).values())


def _generator(
    graph: Graph, maker: tuple[Op, Factor], product: Op, sides: tuple[Factor, Factor]
) -> Generator:
    op, made = maker
    factor, signal = sides
    size = graph.sizes[factor.value]
    function = _function_before(graph, signal.value)
    biases = [use.parameter for use in op.uses if use.slot == "bias" and use.made is None]
    alone = len(biases) == 1 and all(use.slot == "bias" for _, use in graph.uses_of(biases[0]))
    follows = following(graph, product.outputs[0])
    ends = follows.end is None and follows.activation is None
    return Generator(
        op,
        terms=math.prod(size[axis] for axis in factor.summed),
        second=function.gain**-2 if function else 1.0,
        bias=biases[0] if alone and made.linear else "",
        estimate=ends and any(size[axis] == 1 for axis in factor.free),
        added=made.added,
    )


def _function_before(graph: Graph, value: int) -> Activation | None:
    """Return the activation that a signal went through last, behind a layer or a product."""
    if (fed := feeding(graph, value).activation) is not None:
        return fed
    waiting, seen = [value], {-1}
    while waiting and len(seen) <= FAR:
        op = graph.producers.get(waiting.pop(0))
        if op is None or op.index in seen or op.kind == "map":
            continue
        seen.add(op.index)
        if any(True for _ in factors(graph, op)):
            return following(graph, op.outputs[0]).activation
        waiting += op.inputs
    return None


def _is_of_one(graph: Graph, op: Op, made: Factor, factor: Factor) -> bool:
    """Whether all units of a layer are summed over for one output, or are outputs of one input."""
    if op.kind != "map" or not op.uses:
        return False
    size, units = graph.sizes[factor.value], units_of_map(graph, op)
    one_in, one_out = (any(size[a] == 1 for a in axes) for axes in (factor.summed, factor.free))
    return (one_out and made.summed == units) or (one_in and units <= made.free)


def _read(graph: Graph, op: Op) -> int:
    return graph.trunk(op.inputs[0]) if op.inputs else -1


def generated_biases(graph: Graph, found: list[Generator]) -> Iterator[str]:
    """Yield the weights of layers that make what is added to a signal behind a generated weight.

    Such a layer reads what the generator reads.
    """
    read = {_read(graph, one.op): one for one in found if one.bias}
    for op in graph.ops if read else ():
        if op.name not in SUMS or len(op.inputs) != 2:
            continue
        for product, shift in (op.inputs, op.inputs[::-1]):
            served, maker = (graph.producers.get(graph.trunk(v)) for v in (product, shift))
            if served is None or maker is None or maker.kind != "map" or not maker.inputs:
                continue
            makers = {m.index for f in factors(graph, served) for m, _ in reached(graph, f)}
            if _read(graph, maker) in read and makers & {one.op.index for one in found}:
                yield from (use.parameter for use in maker.uses if use.slot == "weight")
