"""Motifs: small patterns of operations that a paper has its own initialization for.

Each finder looks at one operation and its neighbours, and names what a parameter is in the pattern.
Names of modules and parameters are never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from isoinit._reading.generators import Generator, generated_biases, generators
from isoinit._reading.graph import SUMS, Graph, Join, Op
from isoinit._reading.grids import interpolated_tables
from isoinit._reading.modulations import modulating_weights
from isoinit._reading.queries import learned_queries, queries_and_keys
from isoinit._reading.scores import row_biases, score_factors

NEAR = 16  # operations: further off than the steps between a projection and its attention


@dataclass(frozen=True)
class Motif:
    """What a parameter is in a pattern.

    Attributes:
        name: "router", "sub-pixel", "adapter in", "adapter out", "query or key", "learned query",
            "scaled skip", "state decay", "time step", "time step bias", "forget gate", "carry gate",
            "generator", "start of a weight", "generated weight", "modulation", "score",
            "bias of a row" or "grid".
        size: a number that belongs to it: sub-pixels to one channel, the second moment of scores
            made of unit queries and keys, the terms of the scores of a learned query, branches of the
            stream with a scaled skip, inputs that a generated weight sums over (for where it starts,
            times the second moment of these), gates that a bias is stacked of, the sign of what opens
            a carry gate for the skip, the second moment of a score's vector.
        place: which of these the forget gate is; 1 for the start of a weight that gives an estimate.
    """

    name: str
    size: float = 1.0
    place: int = 0


Found = Iterator[tuple[str, Motif]]


def read_subgraphs(graph: Graph) -> dict[str, Motif]:
    """The motif of each parameter that is part of one."""
    found: dict[str, Motif] = {}
    for op in graph.ops:
        for use in op.uses:  # merged into the weight that it is beside
            if use.kind.startswith("adapter"):
                found.setdefault(use.parameter, Motif(use.kind))
        for finder in FINDERS:
            for name, motif in finder(graph, op):
                found.setdefault(name, motif)
    makers = generators(graph)
    for name, motif in _of_generators(makers):
        found.setdefault(name, motif)
    for name in (*modulating_weights(graph), *generated_biases(graph, makers)):
        found.setdefault(name, Motif("modulation"))
    for name, second in score_factors(graph):
        found.setdefault(name, Motif("score", second))
    for name, second in queries_and_keys(graph):
        found.setdefault(name, Motif("query or key", second))
    for name, count in learned_queries(graph):
        found.setdefault(name, Motif("learned query", count))
    for name in interpolated_tables(graph):
        found.setdefault(name, Motif("grid"))
    for name in row_biases(graph):
        found.setdefault(name, Motif("bias of a row"))
    return found


def _of_generators(makers: Sequence[Generator]) -> Found:
    """What makes weights, and the bias that such weights start from."""
    for maker in makers:
        kind = "generator" if maker.bias else "generated weight"
        yield from _weights(maker.op, Motif(kind, maker.terms))
        if maker.bias and not maker.added:
            yield (
                maker.bias,
                Motif("start of a weight", maker.terms * maker.second, int(maker.estimate)),
            )


def _router(graph: Graph, op: Op) -> Found:
    """A weight whose outputs are ranked: which expert an example goes to (Fedus et al. 2021).

    Ranked are its units among each other (neither places, nor units and something else), and a softmax
    or sigmoid makes shares of them: without one, the largest units are an activation.
    """
    if op.kind != "map" or not op.uses:
        return
    of_all = graph.sizes[op.outputs[0]]
    units = of_all[len(of_all) - 1 - len(op.uses[0].whole.kernel)]
    ahead = [*_ahead(graph, op.outputs[0])]
    if not any(gate in step.name for step in ahead for gate in ("softmax", "sigmoid")):
        return
    for step in ahead:
        if step.name != "topk" or not step.inputs:
            continue
        ranked = graph.sizes[step.inputs[0]]
        along = [ranked[dim] for dim in step.detail.dims]
        if math.prod(ranked) == math.prod(of_all) and along == [units]:
            yield from _weights(op, Motif("router"))


def _sub_pixel(graph: Graph, op: Op) -> Found:
    """A convolution whose channels become pixels (Shi et al. 2016)."""
    if op.kind != "map":
        return
    for step in _ahead(graph, op.outputs[0]):
        if step.name == "pixel_shuffle" and step.inputs:
            before, after = (graph.sizes[v] for v in (step.inputs[0], step.outputs[0]))
            yield from _weights(op, Motif("sub-pixel", before[-3] / after[-3]))


def _adapter(graph: Graph, op: Op) -> Found:
    """Two factors of low rank beside a weight that reads the same (LoRA: Hu et al. 2021)."""
    if op.name not in ("add", "sub") or len(op.inputs) != 2:
        return
    makers = [graph.producers.get(graph.trunk(value)) for value in op.inputs]
    for last, beside in (makers, makers[::-1]):
        if not (last and beside and last.kind == beside.kind == "map"):
            continue
        first = graph.producers.get(graph.trunk(last.inputs[0])) if last.inputs else None
        if not (first and first.kind == "map" and first.inputs and beside.inputs):
            continue
        same = graph.trunk(first.inputs[0]) == graph.trunk(beside.inputs[0])
        rank = first.uses[0].layout.fan_out if first.uses else math.inf
        wide = min(first.uses[0].layout.fan_in, last.uses[0].layout.fan_out) if first.uses else 0
        if same and rank < wide:
            yield from _weights(first, Motif("adapter in"))
            yield from _weights(last, Motif("adapter out"))


def _scaled_skip(graph: Graph, op: Op) -> Found:
    """A branch beside a skip that is scaled up, under a norm layer (DeepNorm: Wang et al. 2022)."""
    join = graph.joins.get(op.index)
    if join is None or skip_scale(graph, join) < 1.01:
        return
    if any(v != join.start and graph.depends(join.branch, on=v) for v in _skips(graph, join)):
        return  # the stream itself is scaled, as embeddings are, and not the skip alone
    if not any(reader.index in graph.norms for reader in graph.consumers.get(op.outputs[0], [])):
        return
    motif = Motif("scaled skip", graph.branches[join.stream])
    waiting, seen = [join.branch], {join.start}
    while waiting:
        maker = graph.producers.get(value := waiting.pop())
        if maker is None or value in seen:
            continue
        seen.add(value)
        if maker.kind == "map":
            yield from _weights(maker, motif)
        if maker.name != "softmax":  # queries and keys keep their scale
            fused = maker.name == "scaled_dot_product_attention"
            waiting.extend(maker.inputs[2:] if fused else maker.inputs)


def _skips(graph: Graph, join: Join) -> list[int]:
    """The sides of a residual sum that hold its stream."""
    return [value for value in join.op.inputs if graph.trunk(value) == join.start]


def skip_scale(graph: Graph, join: Join) -> float:
    """What the skip of a residual sum is multiplied by."""
    skips = _skips(graph, join)
    scale, value = 1.0, skips[0] if skips else join.start
    while value != join.start and (op := graph.producers.get(value)) is not None:
        if op.replay is not None:
            scale *= float(np.ravel(op.play([np.ones(1)])[0])[0])
        value = op.inputs[0]
    return scale


def _state_space(graph: Graph, op: Op) -> Found:
    """exp(softplus(dt) · -exp(A)): how fast each state decays (Gu & Dao 2023)."""
    decays = [use for use in op.uses if use.slot == "scale" and "exp" in use.through]
    readers = graph.consumers.get(op.outputs[0], [])
    if op.name != "mul" or not decays or not any(reader.name == "exp" for reader in readers):
        return
    chain = list(_behind(graph, op.inputs[0]))
    names = [step.name for step in chain]
    if "softplus" not in names:
        return
    yield from ((use.parameter, Motif("state decay")) for use in decays)
    for step in chain[names.index("softplus") :]:
        for use in step.uses:
            if use.slot in ("weight", "bias"):
                yield (
                    use.parameter,
                    Motif("time step" if use.slot == "weight" else "time step bias"),
                )


def _forget_gate(graph: Graph, op: Op) -> Found:
    """σ(f)·c + σ(i)·g, where c is such a sum of the step before (an LSTM's cell by hand).

    A layer of torch's own is known by its operation. A highway or a GRU has 1 - σ(f) in the place of
    the second gate.
    """
    if op.name != "add" or len(op.inputs) != 2:
        return
    for kept, new in (op.inputs, op.inputs[::-1]):
        gates = _gated(graph, new)
        for gate, state in _gated(graph, kept) if gates else ():
            before = graph.producers.get(graph.trunk(state))
            if before is None or before.name != "add" or before.index >= op.index:
                continue
            value, shift = _unshifted(graph, graph.trunk(gate))
            if shift > 0:  # the model opens the gate itself, whatever the bias is
                continue
            place, count = 0, 1
            split = graph.producers.get(value)
            if split is not None and split.kind == "move" and len(split.outputs) > 1:
                place, count = split.outputs.index(value), len(split.outputs)
                value = split.inputs[0]
            # What does not depend on the state may be computed for all steps at once, bias and all.
            if any(len(graph.uses_of(name)) > 1 for name in _summed(graph, value, "weight")):
                biases = _summed(graph, value, "bias")
                yield from ((name, Motif("forget gate", count, place)) for name in biases[:1])


def _unshifted(graph: Graph, value: int) -> tuple[int, float]:
    """Return what a value is but for constants that are added to it, and what they add up to."""
    shift = 0.0
    while (maker := graph.producers.get(value)) is not None and maker.name in SUMS:
        if len(maker.inputs) != 1 or maker.uses or maker.replay is None:
            break
        shift += float(maker.play([np.zeros(1)])[0][0])
        value = maker.inputs[0]
    return value, shift


def _carry_gate(graph: Graph, op: Op) -> Found:
    """σ(z)·h + (1 - σ(z))·x, where h and z are made of x (highway: Srivastava et al. 2015).

    Also with the sides changed, and as x + σ(z)·(h - x). The size is the sign of what opens the way of
    x. A gate of a loop over time is none: what it carries is a state.
    """
    if op.name != "add" or len(op.inputs) != 2:
        return
    for one, other in _both_ways(op.inputs):
        for gate, logit, work in _by_gate(graph, one):
            kept = graph.trunk(other)
            difference = graph.producers.get(work)
            if difference is not None and difference.name == "sub" and len(difference.inputs) == 2:
                new, taken = map(graph.trunk, difference.inputs)
                if taken == kept:
                    yield from _carried(graph, kept, logit, new, -1.0)
            for factor, rest in _factors(graph, other):
                maker = graph.producers.get(factor)
                if maker is not None and maker.inputs == (gate,) and _is_complement(maker):
                    yield from _carried(graph, graph.trunk(rest), logit, work, -1.0)
                    yield from _carried(graph, graph.trunk(work), logit, rest, 1.0)


def _carried(graph: Graph, skip: int, logit: int, work: int, sign: float) -> Found:
    if graph.depends(work, on=skip) and graph.depends(logit, on=skip):
        biases = [n for n in _summed(graph, logit, "bias") if len(graph.uses_of(n)) == 1]
        yield from ((name, Motif("carry gate", sign)) for name in biases[:1])


def _is_complement(op: Op) -> bool:
    """Whether an operation makes 1 - s of s."""
    return op.replay is not None and bool(np.allclose(op.play([np.array([0.0, 1.0])])[0], [1, 0]))


def _factors(graph: Graph, value: int) -> list[tuple[int, int]]:
    """Both factors of a product, each with the other; nothing of any other value."""
    product = graph.producers.get(graph.trunk(value))
    if product is None or product.name != "mul" or len(product.inputs) != 2:
        return []
    return _both_ways(product.inputs)


def _by_gate(graph: Graph, value: int) -> Iterator[tuple[int, int, int]]:
    """The gate, its input and what it gates, for each factor of a product that is a sigmoid."""
    for gate, other in _factors(graph, value):
        maker = graph.producers.get(gate)
        if maker is not None and maker.name == "sigmoid":
            yield gate, maker.inputs[0], other


def _gated(graph: Graph, value: int) -> list[tuple[int, int]]:
    """What is gated in a product: for each factor that is a sigmoid, its input, and the other."""
    return [(logit, other) for _, logit, other in _by_gate(graph, value)]


def _both_ways(pair: Sequence[int]) -> list[tuple[int, int]]:
    return [(pair[0], pair[1]), (pair[1], pair[0])]


def _summed(graph: Graph, value: int, slot: str) -> list[str]:
    """The weights or biases of the layers that a value is a sum of, in the order of the model."""
    found, waiting, seen = [], [value], 0
    while waiting and seen < NEAR:
        maker = graph.producers.get(waiting.pop())
        seen += 1
        if maker is None:
            continue
        found += [use.parameter for use in maker.uses if use.slot == slot]
        if maker.kind == "move" or maker.name in SUMS:
            waiting.extend(maker.inputs)
    return [name for name in graph.shapes if name in found]


def _weights(op: Op, motif: Motif) -> Found:
    yield from ((use.parameter, motif) for use in op.uses if use.slot == "weight")


def _ahead(graph: Graph, value: int) -> Iterator[Op]:
    """The operations that a value goes through before the next layer, the nearest first."""
    waiting, seen = [value], 0
    while waiting and seen < NEAR:
        for op in graph.consumers.get(waiting.pop(0), []):
            seen += 1
            yield op
            if op.kind in ("move", "other") and op.index not in graph.joins:
                waiting.extend(op.outputs)


def _behind(graph: Graph, value: int) -> Iterator[Op]:
    """The operations that a value comes from, back to the nearest layer, it included."""
    for _ in range(NEAR):
        op = graph.producers.get(value)
        if op is None:
            return
        yield op
        if op.kind == "map" or len(op.inputs) != 1:
            return
        value = op.inputs[0]


FINDERS: tuple[Callable[[Graph, Op], Found], ...] = (
    _router,
    _sub_pixel,
    _adapter,
    _scaled_skip,
    _state_space,
    _forget_gate,
    _carry_gate,
)
