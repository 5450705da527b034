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

from isoinit._planning.transfer.degrees import outputs, rows
from isoinit._planning.transfer.equations import norm_steps
from isoinit._planning.transfer.lines import line
from isoinit._reading.generated import factors
from isoinit._reading.graph import BESIDE, COMPOSED, Graph, Op, ReplayError, run_ops

NEAR = 1e-6  # relative difference of constants that rounding leaves


@dataclass
class Offsets:
    """The logarithms of what a forward multiplies by beyond the papers', by operation.

    Attributes:
        by_op: by the index of the operation.
        why: what each is, in words.
        notes: what could not be compared.
    """

    by_op: dict[int, float] = field(default_factory=dict)
    why: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

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
    for op in target.ops:
        other = pairs.get(op.index)
        _compare_weights(found, other, op)
        if op.index in inside or op.kind in ("norm", "lookup", "recurrent", "map"):
            continue
        if op.index in target.norms:
            _compare_norms(found, base, target, other, op)
        elif op.name == "scaled_dot_product_attention" or op.kind == "attention":
            _compare_attention(found, base, target, other, op)
        else:
            _compare_sums(found, base, target, other, op)
            _compare_values(found, other, op)
            _tell_unknown(found, base, target, other, op)
    return found


def _compare_weights(found: Offsets, other: Op | None, op: Op) -> None:
    """Compare what weights are multiplied by before they are used."""
    for use in op.uses:
        if use.made is None or use.slot not in COMPOSED:
            continue
        twins = [] if other is None else [u for u in other.uses if u.slot == use.slot]
        before, after = line(twins[0]) if twins else None, line(use)
        if before is None or after is None or after[1] or before[1]:
            found.notes.append(
                f"{use.parameter!r} is no weight itself, one is computed of it: it has the factors of "
                "a weight of its shape, which are not proven for it"
            )
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
    """Return the width of a head of attention."""
    width = graph.sizes[op.inputs[0]][-1] if graph.sizes.get(op.inputs[0]) else 1
    return width / (op.detail.groups or 1)


def _compare_sums(found: Offsets, base: Graph, target: Graph, other: Op | None, op: Op) -> None:
    """Compare sums over axes of signals: of products such as scores, or of units."""
    after = _terms(target, op)
    if after is None:
        return
    before = None if other is None else _terms(base, other)
    if before is None:
        found.notes.append(_unmatched(target, op, "whether it sums over more units"))
    else:
        found.add(op, after / before, f"{op.name} sums over {after:g} terms instead of {before:g}")


def _terms(graph: Graph, op: Op) -> float | None:
    """Return how many terms an operation sums over; None if it sums over none."""
    side = next(iter(factors(graph, op)), None)
    if side is not None:
        size = graph.sizes[side.value]
        return math.prod(size[axis] for axis in side.summed)
    if op.name == "sum" and op.inputs:
        size = graph.sizes.get(op.inputs[0], ())
        return math.prod(size[axis] for axis in op.detail.dims if axis < len(size))
    return None


def _compare_values(found: Offsets, other: Op | None, op: Op) -> None:
    """Compare what two operations make of the same numbers."""
    if op.uses or op.kind == "move" or not op.inputs or op.detail.becomes:
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


def _tell_unknown(found: Offsets, base: Graph, target: Graph, other: Op | None, op: Op) -> None:
    """Tell of a function of several signals that cannot be run, where these grow."""
    plain = op.uses or op.kind == "move" or op.name in BESIDE or op.detail.becomes
    if plain or len(op.inputs) < 2 or outputs(op, rows(len(op.inputs))) is not None:
        return
    sizes = [target.sizes.get(v) for v in op.inputs]
    if other is None or sizes != [base.sizes.get(v) for v in other.inputs]:
        near = next((n for v in op.inputs if (n := parameter_before(target, v))), "the input")
        why = op.unplayed or "it cannot be run alone"
        found.notes.append(
            f"{op.name} behind {near!r} is not understood ({why}): if it sums over more units than in "
            "the base, its result is to be divided by their growth"
        )


def _times(before: np.ndarray, after: np.ndarray) -> float | None:
    """Return how many times larger one result is than the other; 1 where that is not to be said."""
    finite = np.isfinite(before) & np.isfinite(after)
    if before.shape != after.shape or not finite.any():
        return 1.0
    one, two = before[finite], after[finite]
    size = float(one @ one)
    if size == 0 or np.allclose(one, two, rtol=NEAR):
        return 1.0
    times = float(one @ two) / size
    return times if times > 0 and np.allclose(times * one, two, rtol=1e-5) else None


def _compare_norms(found: Offsets, base: Graph, target: Graph, other: Op | None, op: Op) -> None:
    """Compare norms spelled out in steps: divided by its length, a vector's elements are smaller."""
    width = target.sizes.get(target.norms[op.index], (1,))[-1]
    if other is None or other.index not in base.norms:
        found.notes.append(_unmatched(target, op, "whether it norms more units"))
        return
    before = base.sizes.get(base.norms[other.index], (1,))[-1]
    small, large = (_normed_size(target, op, n) for n in (16, 64))
    if before != width and small and large:
        power = math.log(large / small) / math.log(4)
        if abs(power) > 0.05:
            power = round(2 * power) / 2
            found.add(op, (width / before) ** power, f"{op.name} divides by the length of a vector")


def _normed_size(graph: Graph, op: Op, width: int) -> float | None:
    """Return the root mean square of what a norm in steps makes of so many units."""
    value = graph.norms[op.index]
    steps, waiting = {op.index: op}, list(op.inputs)
    while waiting:
        at = waiting.pop()
        step = graph.producers.get(at)
        if at > value and step is not None and step.index not in steps:
            steps[step.index] = step
            waiting.extend(step.inputs)
    shape = (*(2,) * (len(graph.sizes[value]) - 1), width)
    given = np.random.default_rng(0).standard_normal(shape)
    try:
        made = run_ops([steps[i] for i in sorted(steps)], {value: given})[op.outputs[0]]
    except ReplayError:
        return None
    return float(np.sqrt(np.mean(made**2)))


def _unmatched(graph: Graph, op: Op, what: str) -> str:
    """Return the note for an operation that the base has no counterpart of."""
    near = next((n for v in op.inputs if (n := parameter_before(graph, v))), "the input")
    return f"{op.name} behind {near!r} has no counterpart in the base: not known is {what}"


def parameter_before(graph: Graph, value: int) -> str:
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
