"""What a traced model is: operations in the order they ran, and what each does with parameters.

Nothing here knows how the model was read. Values are numbered in the order in which they were made;
a value that depends on neither the example nor a parameter (a mask, a table of positions) is a
constant and has no number. Two landmarks of a signal's way follow from the operations alone: norm
layers, also where they are spelled out in steps, and residual sums.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from isoinit.initializers.scale.fans import Layout

Array = npt.NDArray[np.float64]

# What an operation is to the signal. A "map" mixes its inputs by a weight, a "lookup" reads rows of
# a table or a parameter itself, a "move" rearranges (reshape, pooling, dropout); everything else is
# an "other", which may still turn out to be an elementwise function.
Kind = Literal["map", "norm", "lookup", "recurrent", "attention", "move", "other"]

SUMS = frozenset({"add", "sub"})
# Moves that give parts of a tensor: different units, or different steps in time.
SPLITS = frozenset({"chunk", "split", "tensor_split", "unbind", "getitem", "select", "narrow"})
GATES = frozenset({"softmax", "sigmoid", "topk"})
PRODUCTS = frozenset({"matmul", "bmm", "mm", "einsum", "scaled_dot_product_attention"})
STATISTICS = frozenset({"mean", "sum", "var", "std", "var_mean", "norm", "vector_norm", "amax"})
LARGEST_BLOCK = 500  # operations beside a projected skip: a loop over time has more, a block never
LAYERS: tuple[Kind, ...] = ("map", "lookup", "recurrent", "attention")  # operations with a weight


@dataclass(frozen=True)
class Use:
    """One use of one parameter by one operation.

    Attributes:
        parameter: its name.
        slot: what the operation does with it: "weight", "bias", "scale", "shift", "table", "slope",
            "input weight", "recurrent weight", "input bias", "recurrent bias", "position", "token",
            "length" (of a weight's rows, under weight normalization) or "other".
        layout: what its axes mean there.
        through: what the parameter goes through first: ("exp", "neg") for -exp(w).
        neutral: for a bias or scale, the value at which it does nothing, where it is known.
    """

    parameter: str
    slot: str
    layout: Layout
    through: tuple[str, ...] = ()
    neutral: float | None = None


@dataclass(frozen=True)
class Detail:
    """What the arguments of a call say that its inputs and its name do not.

    Attributes:
        axes: of a move, the axes of its first input that each axis of its output runs along; None
            where that is not known.
        dims: the axes that it works along: a mean, a softmax, a concatenation.
        power: what it does to the second moment of every element: dropout in training 1/(1 - p);
            of attention, to that of the scores, if each had been divided by the root of their terms.
        window: how many elements a pooling operation takes together; 0 where that is not known.
        constant: mean and second moment of the constant tensor that it adds or multiplies by.
        causal: whether attention looks back only.
        live: of a norm, whether it measures what it is given; batch norm in evaluation does not.
    """

    axes: tuple[tuple[int, ...], ...] | None = None
    dims: tuple[int, ...] = ()
    power: float = 1.0
    window: int = 0
    constant: tuple[float, float] | None = None
    causal: bool = False
    live: bool = True


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes:
        index: its place in the order of execution.
        name: what torch calls it: "linear", "relu", "add".
        kind: what it is to the signal.
        inputs, outputs: the numbers of the values it reads and makes.
        uses: the parameters it uses.
        replay: computes the output from arrays in place of `inputs`; None for moves, and where the
            operation uses a parameter or another tensor whose values are not known.
        detail: what its arguments say beyond that.
    """

    index: int
    name: str
    kind: Kind
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    uses: tuple[Use, ...] = ()
    replay: Callable[[Sequence[Array]], Array] | None = field(default=None, compare=False)
    detail: Detail = field(default=Detail(), compare=False)

    def apply(self, inputs: Sequence[Array]) -> Array:
        """The output from arrays in place of the inputs; a move leaves the first as it is."""
        return inputs[0] if self.replay is None else self.replay(inputs)

    @property
    def is_neutral(self) -> bool:
        """Whether it only adds a bias or multiplies by a scale, which do nothing at first."""
        known = [use.neutral is not None for use in self.uses]
        return self.kind == "other" and len(self.inputs) == 1 and bool(known) and all(known)


@dataclass(frozen=True)
class Join:
    """A residual sum: a skip plus a branch that was computed from what the skip holds.

    Attributes:
        op: the sum.
        start: the value that both sides come from.
        branch: the value that the branch ends with.
        ends: the operations with parameters that the branch ends with, by index.
        stream: the number of the residual stream that it adds to.
    """

    op: Op
    start: int
    branch: int
    ends: tuple[int, ...]
    stream: int


@dataclass(frozen=True)
class Given:
    """The moments of one tensor of the example.

    Attributes:
        mean, second: the mean of its elements, and of their squares.
        nearby: the mean product of two elements of one example that differ in place alone (in the
            axes between the first and the last).
        across: the mean product of elements at one place of two examples.
    """

    mean: float
    second: float
    nearby: float
    across: float


@dataclass(frozen=True)
class Graph:
    """Operations in the order of execution.

    Attributes:
        shapes: the shape of every parameter, by name.
        ops: the operations.
        outputs: the values that the model returns.
        how: "fake" (run on fake tensors), "real" (run on the example) or "structure" (not run).
        aliases: other names of tied parameters, and the name that each stands for.
        sizes: the shape of every value.
        given: of the example's own floating-point tensors, by the number of their value, what a
            signal's size follows from.
    """

    shapes: dict[str, tuple[int, ...]]
    ops: tuple[Op, ...]
    outputs: tuple[int, ...]
    how: str
    aliases: dict[str, str] = field(default_factory=dict)
    sizes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    given: dict[int, Given] = field(default_factory=dict)

    @cached_property
    def producers(self) -> dict[int, Op]:
        """The operation that makes each value."""
        return {value: op for op in self.ops for value in op.outputs}

    @cached_property
    def consumers(self) -> dict[int, list[Op]]:
        """The operations that read each value."""
        readers: dict[int, list[Op]] = {}
        for op in self.ops:
            for value in dict.fromkeys(op.inputs):
                readers.setdefault(value, []).append(op)
        return readers

    @cached_property
    def norms(self) -> dict[int, int]:
        """Norm layers, torch's own and others: the index of the last step, and what it is given."""
        found = {op.index: op.inputs[0] for op in self.ops if op.kind == "norm" and op.inputs}
        for op in self.ops:
            if (value := _normed_by(self, op)) is not None:
                found[op.index] = value
        return found

    @cached_property
    def joins(self) -> dict[int, Join]:
        """The residual sums, by the index of the operation."""
        found: dict[int, Join] = {}
        for op in self.ops:
            if op.name in SUMS and len(op.inputs) == 2 and (sides := _skip_and_branch(self, op)):
                start, branch = sides
                stream = _stream_behind(self, start, found)
                ends = tuple(sorted(_last_weights(self, branch, start)))
                found[op.index] = Join(op, start, branch, ends, stream)
        return found

    @cached_property
    def branches(self) -> dict[int, int]:
        """How many branches each residual stream collects."""
        return dict(Counter(join.stream for join in self.joins.values()))

    @cached_property
    def ending(self) -> dict[int, Join]:
        """The operations that end a residual branch, by index, and the sum that each writes to."""
        return {index: join for join in reversed(self.joins.values()) for index in join.ends}

    def depends(self, value: int, on: int) -> bool:
        """Whether `value` was computed from the value `on`.

        Searches backward, no further than the number `on`: what was made before is no part of it.
        """
        waiting, seen = [value], set()
        while waiting:
            value = waiting.pop()
            if value == on:
                return True
            if value > on and value not in seen:
                seen.add(value)
                if op := self.producers.get(value):
                    waiting.extend(op.inputs)
        return False

    def inside(self, join: Join) -> set[int]:
        """The operations of a branch, by index."""
        found: set[int] = set()
        waiting, seen = [join.branch], {join.start}
        while waiting:
            value = waiting.pop()
            op = self.producers.get(value)
            if op is not None and value not in seen and self.depends(value, on=join.start):
                seen.add(value)
                found.add(op.index)
                waiting.extend(op.inputs)
        return found

    def reached_from(self, value: int) -> set[int]:
        """Every value that was computed from this one, itself included."""
        reached, waiting = {value}, [value]
        while waiting:
            for op in self.consumers.get(waiting.pop(), []):
                new = [v for v in op.outputs if v not in reached]
                reached.update(new)
                waiting.extend(new)
        return reached

    def is_part(self, op: Op) -> bool:
        """Whether an operation gives parts of its input: `x[:, 0]`, but not `x[None]`."""
        if not op.inputs:
            return False
        sizes = [math.prod(self.sizes.get(value, ())) for value in (op.inputs[0], op.outputs[0])]
        return op.name in SPLITS and sizes[0] != sizes[1]

    def trunk(self, value: int) -> int:
        """The value that this one is the whole of: rearranged, cast, or times a constant."""
        while (op := self.producers.get(value)) is not None:
            moved = op.kind == "move" and not op.uses and not self.is_part(op)
            scaled = op.name in ("mul", "div") and (op.is_neutral or op.replay is not None)
            if len(op.inputs) != 1 or not (moved or scaled):
                break
            value = op.inputs[0]
        return value

    def uses_of(self, parameter: str) -> list[tuple[Op, Use]]:
        """Every use of a parameter, in the order of execution."""
        return self._uses.get(parameter, [])

    @property
    def unused(self) -> list[str]:
        """The parameters that no operation used."""
        return [name for name in self.shapes if name not in self._uses]

    @cached_property
    def _uses(self) -> dict[str, list[tuple[Op, Use]]]:
        found: dict[str, list[tuple[Op, Use]]] = {}
        for op in self.ops:
            for use in op.uses:
                found.setdefault(use.parameter, []).append((op, use))
        return found


def run(ops: Sequence[Op], arrays: dict[int, Array]) -> dict[int, Array]:
    """Replay operations on arrays by the number of their value; the results are added to them."""
    for op in ops:
        made = op.apply([arrays[value] for value in op.inputs])
        arrays.update(dict.fromkeys(op.outputs, made))
    return arrays


def _skip_and_branch(graph: Graph, op: Op) -> tuple[int, int] | None:
    """Where a residual sum starts, and the value that its branch ends with; None for other sums."""
    for skip, branch in (op.inputs, op.inputs[::-1]):
        start = graph.trunk(skip)
        if start != graph.trunk(branch) and graph.depends(branch, on=start):
            return (start, branch) if _last_weights(graph, branch, start) else None
    for skip, branch in (op.inputs, op.inputs[::-1]):
        before, other = (_before_projection(graph, side) for side in (skip, branch))
        if before is None or before == other or _before_factors(graph, branch) == before:
            continue
        if _layers_between(graph, before, branch) > 1:
            return before, branch
    return None


def _before_factors(graph: Graph, value: int) -> int | None:
    """What two maps with nothing between them were applied to: one map in factors, no branch."""
    for _ in range(2):
        op = graph.producers.get(graph.trunk(value))
        if op is None or op.kind != "map" or len(op.inputs) != 1:
            return None
        value = op.inputs[0]
    return graph.trunk(value)


def _before_projection(graph: Graph, value: int) -> int | None:
    """What a lone linear map, perhaps with a norm layer behind it, was applied to.

    Where a residual network changes its width, the skip goes through one (He et al. 2016, section
    3.3).
    """
    for _ in range(8):
        value = graph.trunk(value)
        op = graph.producers.get(value)
        if op is None or len(op.inputs) != 1:
            return None
        if op.kind == "map":
            return graph.trunk(op.inputs[0])
        if op.kind != "norm" and not op.is_neutral:
            return None
        value = op.inputs[0]
    return None


def _layers_between(graph: Graph, start: int, value: int) -> float:
    """How many layers stand one behind the other from `start` to `value`; -inf if none lead there.

    Two heads of one network that are added are no skip and branch: a branch is the deeper side.
    """
    depths: dict[int, float] = {start: 0.0}
    path: list[int] = []
    waiting, seen = [value], {start}
    while waiting:
        at = waiting.pop()
        if at > start and at not in seen and (op := graph.producers.get(at)):
            seen.add(at)
            path.append(at)
            waiting.extend(op.inputs)
        if len(path) > LARGEST_BLOCK:
            return -math.inf
    for at in sorted(path):
        op = graph.producers[at]
        behind = max((depths.get(v, -math.inf) for v in op.inputs), default=-math.inf)
        depths[at] = behind + (op.kind in LAYERS)
    return depths.get(value, -math.inf)


def _last_weights(graph: Graph, branch: int, start: int) -> set[int]:
    """What writes to a residual stream: from a branch's end back to the nearest parameters on it.

    A bias that was added by itself does not hide the weight behind it. Of a product of two signals
    what writes is the side that is no gate; a product of matrices without a gate (a state space)
    hides what is behind it.
    """
    found: set[int] = set()
    waiting, seen = [branch], {start}
    while waiting:
        value = waiting.pop()
        op = graph.producers.get(value)
        if op is None or value < start or value in seen:
            continue
        seen.add(value)
        if op.uses and graph.depends(value, on=start):
            found.add(op.index)
        if op.kind in ("move", "other") and {use.slot for use in op.uses} <= {"bias"}:
            waiting.extend(_written(graph, op))
    return found


def _written(graph: Graph, op: Op) -> list[int]:
    """The inputs of an operation that its result is a sum of, as against those that weigh it."""
    inputs = list(dict.fromkeys(op.inputs))
    if len(inputs) < 2 or op.name not in (*PRODUCTS, "mul", "div"):
        return inputs
    signals = [value for value in inputs if not _is_gate(graph, value)]
    return signals if len(signals) < len(inputs) or op.name in ("mul", "div") else []


def _is_gate(graph: Graph, value: int) -> bool:
    """Whether a value is a softmax or a sigmoid, or some of its largest entries, normalized."""
    for _ in range(8):
        op = graph.producers.get(value)
        if op is None or op.kind not in ("move", "other") or not op.inputs:
            return False
        if op.name in GATES:
            return True
        value = op.inputs[0]
    return False


def _stream_behind(graph: Graph, start: int, joins: dict[int, Join]) -> int:
    """The stream that a join continues: that of the sum which its start comes from, or a new one."""
    waiting, seen = [start], {start}
    while waiting and len(seen) < 64:
        op = graph.producers.get(waiting.pop())
        if op is None:
            continue
        if op.index in joins:
            return joins[op.index].stream
        if op.kind not in LAYERS:
            new = [value for value in op.inputs if value not in seen]
            seen.update(new)
            waiting.extend(sorted(new))
    return len({join.stream for join in joins.values()})


def _normed_by(graph: Graph, op: Op) -> int | None:
    """What a product or quotient normalizes, if it ends a norm layer that is written out in steps.

    Such as `x * rsqrt(mean(x**2) + eps)`: what it does is replayed, and it is a norm if the result
    has the direction of its input and not its size.
    """
    if op.name not in ("mul", "div") or len(set(op.inputs)) != 2 or op.uses:
        return None
    behind = _statistic_behind(graph, op)
    if behind is None:
        return None
    value, steps = behind
    shape = graph.sizes.get(value, ())
    if not shape:
        return None
    few = (*(min(n, 4) for n in shape[:-1]), min(shape[-1], 64))
    given = np.random.default_rng(0).standard_normal(few)
    try:
        results = [run(steps, {value: given * size})[op.outputs[0]] for size in (8.0, 64.0)]
    except Exception:  # fixed sizes, several results: no norm that anybody wrote so far
        return None
    small, large = results
    spread = float(np.std(small))
    if small.shape != given.shape or spread < 1e-4 or not np.isfinite(spread):
        return None
    same = np.allclose(small, large, rtol=1e-2, atol=1e-2 * spread)
    return value if same and np.corrcoef(small.ravel(), given.ravel())[0, 1] > 0.5 else None


def _statistic_behind(graph: Graph, op: Op) -> tuple[int, list[Op]] | None:
    """The one value that an operation comes from by a few steps, one of them a statistic."""
    steps, waiting = [op], set(op.inputs)
    while len(steps) < 16:
        newest = max(waiting)
        if len(waiting) == 1 and any(step.name in STATISTICS for step in steps):
            return newest, steps[::-1]
        step = graph.producers.get(newest)
        if step is None or step.uses or len(step.outputs) != 1:
            return None
        if step.kind == "move" and graph.sizes[newest] != graph.sizes[step.inputs[0]]:
            return None
        if step.kind != "move" and step.replay is None:
            return None
        steps.append(step)
        waiting = waiting - {newest} | set(step.inputs)
    return None
