"""What the forward of a larger model multiplies by, beyond what the papers' would.

Two things differ. A model changes constants with its width or depth by itself: scores by 1/√d, tables
by √d, branches by 1/N. And what the papers put into the forward is missing: scores over 1/d, a readout
over m, branches over the depth. Both are told as one number for each operation, so that neither is
done twice. Operations of the two readings are matched by what leads to them, and constants are
compared by running both on the same numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from isoinit._planning.transfer.degrees import INFINITE, outputs, rows
from isoinit._planning.transfer.equations import norm_steps
from isoinit._planning.transfer.lines import line
from isoinit._planning.transfer.widths import along, power
from isoinit._reading.generated import factors
from isoinit._reading.graph import BESIDE, Graph, Op

NEAR = 1e-6  # relative difference of constants that rounding leaves


@dataclass
class Offsets:
    """The logarithms of what a forward multiplies by beyond the papers', by operation.

    Attributes:
        by_op: by the index of the operation.
        why: what each is, in words.
        notes: what could not be compared.
        computed: the parameters that a weight is computed of, which is no line of one alone.
    """

    by_op: dict[int, float] = field(default_factory=dict)
    why: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)

    def add(self, op: Op, times: float, why: str) -> None:
        """Add a multiplier of an operation, if it is one."""
        if abs(math.log(times)) > NEAR:
            self.by_op[op.index] = self.by_op.get(op.index, 0.0) + math.log(times)
            before = self.why.get(op.index)
            self.why[op.index] = f"{before}; {why}" if before else why


def matched(base: Graph, target: Graph, twin: Mapping[str, str]) -> dict[int, Op]:
    """Return the operation of the base that each one of the target stands for, by index.

    Those that use parameters are matched by these, all others by what leads to them from there.
    """
    found: dict[int, Op] = {}
    ops: dict[Hashable, list[Op]] = {}
    for op, key, _ in _keys(base, {}):
        ops.setdefault(key, []).append(op)
    seen: Counter[Hashable] = Counter()
    for op, key, own in _keys(target, twin):
        if key in ops:
            found[op.index] = ops[key][min(seen[own], len(ops[key]) - 1)]
        seen[own] += 1
    return found


def _keys(graph: Graph, twin: Mapping[str, str]) -> Iterator[tuple[Op, int, int]]:
    """Yield each operation with what leads to it, by the names of twins and by its own names."""
    known: dict[int, tuple[int, int]] = {}
    for op in graph.ops:
        names = [use.parameter for use in op.uses]
        join = graph.joins.get(op.index)
        given = [] if names else [join.branch] if join is not None else list(op.inputs)
        behind = [known.setdefault(v, (hash(("input", len(known))),) * 2) for v in given]
        if op.kind == "move" and len(behind) == 1 and not graph.is_part(op):
            key, own = behind[0]  # how a signal is arranged is no part of what leads to it
        else:
            slots = [use.slot for use in op.uses]
            key = hash((op.name, *slots, *(twin.get(n, n) for n in names), *(b[0] for b in behind)))
            own = hash((op.name, *slots, *names, *(b[1] for b in behind)))
            yield op, key, own
        for place, value in enumerate(op.outputs):
            known[value] = (hash((key, place)), hash((own, place))) if place else (key, own)


def constants(base: Graph, target: Graph, pairs: Mapping[int, Op]) -> Offsets:
    """Return what the target multiplies by where the base, and a sum of more terms, would not.

    Args:
        base: the reading of the smaller model.
        target: that of the larger one.
        pairs: the operation of the base that each of the target stands for, by index.
    """
    found = Offsets()
    inside = norm_steps(target)
    leading = target.leading_to(target.outputs)  # the rest only counts, or asserts
    for op in target.ops:
        other = pairs.get(op.index)
        if leading.isdisjoint(op.outputs):
            continue
        _compare_weights(found, other, op)
        if op.index in inside or op.kind in ("lookup", "recurrent", "map"):
            continue
        if op.index in target.norms:
            _compare_norms(found, base, target, other, op)
        elif op.name == "scaled_dot_product_attention" or op.kind == "attention":
            _compare_attention(found, base, target, other, op)
        else:
            _compare_sums(found, base, target, other, op)
            _compare_widths(found, base, target, other, op)
            _compare_values(found, other, op)
    return found


def _compare_weights(found: Offsets, other: Op | None, op: Op) -> None:
    """Compare what weights are multiplied by before they are used."""
    for use in op.uses:
        if use.made is None or use.slot not in ("weight", "table"):
            continue
        twins = [] if other is None else [u for u in other.uses if u.slot == use.slot]
        before, after = line(twins[0]) if twins else None, line(use)
        if before is None or after is None or after[1] or before[1]:
            found.computed.append(use.parameter)
        else:
            times = after[0] / before[0]
            found.add(op, times, f"the model itself multiplies the weight by {times:.4g} more")


def _compare_attention(
    found: Offsets, base: Graph, target: Graph, other: Op | None, op: Op
) -> None:
    """Compare scores: sums of more terms want to be divided by their number."""
    if other is None:
        found.notes.append(_unmatched(target, op, "whether the width of its heads grows"))
        return
    before, after = (_head(g, o) for g, o in ((base, other), (target, op)))
    own = math.sqrt(op.detail.power / after) / math.sqrt(other.detail.power / before)
    found.add(
        op, after / before * own, f"heads grow from {before:g} to {after:g}, and scores follow 1/d"
    )


def _head(graph: Graph, op: Op) -> float:
    """Return the width of a head of attention; of a layer, the projection behind tells the heads."""
    width = graph.sizes[op.inputs[0]][-1] if graph.sizes.get(op.inputs[0]) else 1
    heads = graph.ops[op.index + 1].detail.groups if op.kind == "attention" else 1
    return width / (heads or 1)


def _compare_sums(found: Offsets, base: Graph, target: Graph, other: Op | None, op: Op) -> None:
    """Compare products that sum over axes of two signals, such as scores."""
    side = next(iter(factors(target, op)), None)
    if side is None or _is_mean(target, op):
        return
    twin = None if other is None else next(iter(factors(base, other)), None)
    if twin is None:
        found.notes.append(_unmatched(target, op, "whether it sums over more units"))
        return
    before, after = (
        math.prod(graph.sizes[one.value][axis] for axis in one.summed)
        for graph, one in ((base, twin), (target, side))
    )
    found.add(op, after / before, f"{op.name} sums over {after:g} terms instead of {before:g}")
    if op.mixed is not None and other is not None and other.mixed is not None:  # also constants
        sizes = [
            math.prod(float(np.sqrt(np.mean(np.square(row)))) for row in one.mixed.rows)
            for one in (other, op)
            if one.mixed is not None
        ]
        if min(sizes) > 0:
            found.add(op, sizes[1] / sizes[0], f"{op.name} multiplies by other constants")


def _is_mean(graph: Graph, op: Op) -> bool:
    """Whether a product weighs by what a softmax makes: a mean, of however many terms."""
    makers = (graph.producers.get(graph.trunk(value)) for value in op.inputs)
    return any(maker is not None and maker.name == "softmax" for maker in makers)


def _compare_widths(found: Offsets, base: Graph, target: Graph, other: Op | None, op: Op) -> None:
    """Compare what works along axes that grow: a sum over units, or the length of a vector."""
    if op.uses or op.kind == "move" or op.name in BESIDE or not op.inputs:
        return
    if next(iter(factors(target, op)), None) is not None:
        return
    grown = None if other is None else along(base, target, other, op)
    if grown is None or grown.ratio == 1:
        return
    size = power(target, op, grown)
    if size is None:
        why = op.unplayed or "it cannot be run alone"
        found.notes.append(
            f"{op.name} behind {nearest(target, op)!r} is not understood ({why}): if it sums over "
            "more units than in the base, its result is to be divided by their growth"
        )
    elif size:
        times = grown.ratio**size
        why = f"{op.name} of {grown.ratio:.4g} times as many units is {times:.4g} times as large"
        found.add(op, times, why)


def _compare_values(found: Offsets, other: Op | None, op: Op) -> None:
    """Compare what two operations make of the same numbers."""
    if op.uses or op.kind == "move" or not op.inputs:
        return
    if op.detail.becomes and op.mixed is not None:  # `_compare_sums` has seen its constants
        return
    if other is None or len(other.inputs) != len(op.inputs) or other.rank != op.rank:
        return
    given = rows(len(op.inputs))
    before, after = outputs(other, given), outputs(op, given)
    if before is None or after is None:
        return
    times = _times(before[0], after[0])
    if times is not None:
        found.add(op, times, f"the model itself multiplies by {times:.4g} more ({op.name})")
    elif op.mixed is None:
        found.notes.append(
            f"{op.name} (operation {op.index}) is another function in the target than in the base: "
            "what it does to the scale of its signal is not known"
        )


def _times(before: np.ndarray, after: np.ndarray) -> float | None:
    """Return how many times larger one result is than the other; 1 where that is not to be said."""
    finite = (np.abs(before) < INFINITE) & (np.abs(after) < INFINITE)
    if before.shape != after.shape or not finite.any():
        return 1.0
    one, two = before[finite], after[finite]
    size = float(one @ one)
    if size == 0 or np.allclose(one, two, rtol=NEAR):
        return 1.0
    times = float(one @ two) / size
    return times if times > 0 and np.allclose(times * one, two, rtol=1e-5) else None


def _compare_norms(found: Offsets, base: Graph, target: Graph, other: Op | None, op: Op) -> None:
    """Compare what norms leave: divided by its length, a vector's elements are smaller."""
    after = target.second_of_norm(op)
    if other is None or other.index not in base.norms:
        if op.kind != "norm" or after != 1:
            found.notes.append(_unmatched(target, op, "whether it norms more units"))
        return
    times = math.sqrt(after / base.second_of_norm(other))
    if abs(times - 1) > NEAR:
        found.add(op, times, f"{op.name} divides by the length of a vector")


def _unmatched(graph: Graph, op: Op, what: str) -> str:
    """Return the note for an operation that the base has no counterpart of."""
    near = nearest(graph, op)
    return f"{op.name} behind {near!r} has no counterpart in the base: not known is {what}"


def nearest(graph: Graph, op: Op) -> str:
    """Return the nearest parameter before an operation, for a note; "the input" if there is none."""
    return next((n for v in op.inputs if (n := _parameter_before(graph, v))), "the input")


def _parameter_before(graph: Graph, value: int) -> str:
    """Return the nearest parameter that a value was made with; "" if there is none."""
    waiting, seen = [value], {value}
    while waiting:
        op = graph.producers.get(waiting.pop(0))
        if op is not None and op.uses:
            return op.uses[0].parameter
        new = [] if op is None else [v for v in op.inputs if v not in seen]
        seen.update(new)
        waiting += new
    return ""
