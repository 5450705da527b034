"""How many more branches the residual streams of a deeper model collect, and what stands in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isoinit._planning.transfer.forwards import Offsets
from isoinit._reading.graph import Graph, Join, Op


def deeper(
    base: Graph, target: Graph, pairs: Mapping[int, Op], power: float, offsets: Offsets
) -> dict[str, float]:
    """Return the growth of the number of branches for every parameter that stands in one.

    What a branch is to be divided by is added to the offsets.

    Args:
        base: the reading of the smaller model.
        target: that of the larger one.
        pairs: the operation of the base that each of the target stands for, by index.
        power: the α by which branches are divided; 0 divides none, and tells of none.
        offsets: as `forwards.constants` returns them.
    """
    found: dict[str, float] = {}
    normed: set[int] = set()
    for index, join in target.joins.items():
        other = pairs.get(index)
        twin = None if other is None else base.joins.get(other.index)
        if twin is None:
            offsets.notes.append(
                f"a residual sum (operation {index}) has no counterpart in the base"
            )
            continue
        grown = target.branches[join.stream] / base.branches[twin.stream]
        if grown == 1 or not power:
            continue
        why = (
            f"branches are divided by {grown**power:.4g}, since they are {grown:.4g} times as many"
        )
        offsets.add(join.op, grown**power, why)
        for op in branch(target, join):
            found |= {use.parameter: grown for use in op.uses}
        if _is_post_norm(target, join):
            normed.add(join.stream)
    for stream in sorted(normed):
        offsets.notes.append(
            f"a norm layer stands behind the sums of residual stream {stream + 1}: the factors for "
            "the depth are published for norms before the branches, and transfer over depth is not "
            "known for such a model"
        )
    return found


def branch(graph: Graph, join: Join) -> Iterator[Op]:
    """Yield the operations of a branch, those too that bring something from elsewhere to it."""
    waiting, seen = [join.branch], {join.start}
    while waiting:
        at = waiting.pop()
        op = graph.producers.get(at)
        if op is not None and at > join.start and at not in seen:
            seen.update(op.outputs)
            yield op
            waiting += op.inputs


def _is_post_norm(graph: Graph, join: Join) -> bool:
    """Whether all that reads a residual sum is one norm layer, behind which the stream goes on."""
    readers = graph.consumers.get(join.op.outputs[0], [])
    norms = [op for op in readers if op.index in graph.norms]
    rest = [op for op in readers if op.index not in graph.norms and op.index in graph.joins]
    after = any(
        graph.trunk(other.start) in op.outputs for op in norms for other in graph.joins.values()
    )
    return bool(norms) and not rest and after
