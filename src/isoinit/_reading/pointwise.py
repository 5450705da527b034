"""The functions between the weights of a graph, measured by replaying what the model did.

`following` goes forward from a weight's output to what it is for; `feeding` goes back from an
operation's input to what it is made of. Neither knows any function by its name: a GELU spelled out
with `tanh` and `pow`, or a student's own activation, is what its values are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np

from isoinit._reading.activation import GRID, Activation, identify
from isoinit._reading.graph import (
    LAYERS,
    STATISTICS,
    SUMS,
    Array,
    Graph,
    Op,
    ReplayError,
    elementwise,
    run_ops,
)


@dataclass(frozen=True)
class Following:
    """What happens to a value on its way to the next weight, norm, sum or output.

    Attributes:
        names: the elementwise operations on the way, such as ("sigmoid", "mul"); empty where
            together they only scale or shift.
        function: the way as one NumPy function; booleans and integers are numbers in its result.
        norm: whether a norm layer stands before the operations.
        end: the operation that the way leads to; None at the model's end.
    """

    names: tuple[str, ...]
    function: Callable[[Array], Array]
    norm: bool
    end: Op | None

    @cached_property
    def activation(self) -> Activation | None:
        """The function under its name; None where it only scales, or where it has no gain."""
        return identify(self.names, self.function)


def following(graph: Graph, value: int) -> Following:
    """Follow a value forward through everything elementwise, once for each graph and value.

    Branches that meet again, such as x·sigmoid(x), count as one function; different parts of a
    tensor that meet (a gated unit) do not. Norm layers are looked through when nothing elementwise
    stands before them: a convolution, batch norm and ReLU are one unit. So are sums with other
    weights' outputs (the input and the state of a recurrent unit) or with positions, but not
    residual sums.
    """
    return graph.once(_follow, value)


def _follow(graph: Graph, value: int, norm: bool = False) -> Following:
    way = _Way(graph, value)
    end_value, end = way.walk()
    if end is not None and not way.steps_to(end_value):
        if end.index in graph.norms:
            return _follow(graph, end.outputs[0], norm=True)
        if end.name in SUMS and end.index not in graph.joins:
            return _follow(graph, end.outputs[0], norm)
    return _made(graph, way, end_value, end, norm)


def _made(graph: Graph, way: _Way, value: int, end: Op | None, norm: bool) -> Following:
    """Return what happens on a way up to a value."""
    end = None if end is None or graph.only_returned(end) else end
    steps = () if is_affine(way.arrays[value]) else way.steps_to(value)
    ops, start = way.behind[value], way.start
    return Following(steps, lambda z: _run(ops, {start: z}, value), norm, end)


def ways(graph: Graph, value: int) -> tuple[Following, ...]:
    """Return every way that a value takes, one for each operation that it leads to.

    `following` gives the one of them that tells what the value is for. Statistics, such as the mean
    square of a norm spelled out in steps, count only where nothing else reads the value.
    """
    return graph.once(_ways, value)


def _ways(graph: Graph, value: int, norm: bool = False) -> tuple[Following, ...]:
    way = _Way(graph, value)
    best: dict[int | None, tuple[int, Op | None]] = {}
    for end_value, end in sorted(way.exits(), key=way.rank):
        best.setdefault(None if end is None else end.index, (end_value, end))
    if len(best) > 1:
        best = {index: out for index, out in best.items() if _counts(way, *out)}
    found: list[Following] = []
    for index in sorted(best, key=lambda index: (index is None, index)):
        end_value, end = best[index]
        if end is not None and not way.steps_to(end_value):
            if end.index in graph.norms:
                found += _ways(graph, end.outputs[0], norm=True)
                continue
            if end.name in SUMS and end.index not in graph.joins:
                found += _ways(graph, end.outputs[0], norm)
                continue
        found.append(_made(graph, way, end_value, end, norm))
    return tuple(found)


def _counts(way: _Way, value: int, end: Op | None) -> bool:
    """Whether one of several ways out counts: something reads it, not for a statistic, nor times 0."""
    read = value in way.graph.outputs if end is None else end.name not in STATISTICS
    array = way.arrays[value]
    return read and bool(array.min() != array.max())


def region(graph: Graph, value: int) -> dict[int, Array]:
    """Return every value that is a function of single elements of one, on `GRID`."""
    way = _Way(graph, value)
    way.walk()
    return way.arrays


class _Way:
    """The elementwise region that grows forward from one value.

    A stack of rows may stand inside, if what comes of it is a row again: `stack([x, -x]).amax(0)`.
    """

    def __init__(self, graph: Graph, value: int) -> None:
        self.graph, self.start = graph, value
        self.arrays: dict[int, Array] = {value: GRID}
        self.part: dict[int, int] = {value: value}  # which part of the start each value holds
        self.behind: dict[int, tuple[Op, ...]] = {value: ()}
        self.stacked: dict[int, tuple[int, Op]] = {}  # where each stack of rows left the rows

    def walk(self) -> tuple[int, Op | None]:
        """Grow the region; return the value that leaves it, and the operation that takes it.

        Of several ways out the first through a true function counts: a value that is also added to
        a residual stream is still the input of its activation. A way that only ends in a statistic
        (the mean square of a norm spelled out in steps) counts least.
        """
        return min(self.exits(), key=self.rank, default=(self.start, None))

    def rank(self, way: tuple[int, Op | None]) -> tuple[bool, bool]:
        """Which of several ways out counts: the least."""
        value, op = way
        return op is not None and op.name in STATISTICS, is_affine(self.arrays[value])

    def exits(self) -> list[tuple[int, Op | None]]:
        """Grow the region; return each value that leaves it, and the operation that takes it."""
        exits: list[tuple[int, Op | None]] = []
        waiting = {op.index: op for op in self.graph.consumers.get(self.start, [])}
        while waiting:
            op = waiting.pop(min(waiting))
            if self._absorb(op):
                for value in op.outputs:
                    readers = self.graph.consumers.get(value, [])
                    waiting.update({reader.index: reader for reader in readers})
            else:
                taken = [value for value in op.inputs if value in self.arrays]
                exits += [self.stacked.get(value, (value, op)) for value in taken]
        unread = [v for v in self.arrays if not self.graph.consumers.get(v)]
        return exits + [self.stacked.get(v, (v, None)) for v in unread]

    def _absorb(self, op: Op) -> bool:
        acts = op.uses and not op.is_neutral and op.replay is None
        if acts or any(value not in self.arrays for value in op.inputs):
            return False
        parts = {self.part[value] for value in op.inputs}
        if len(parts) > 1:
            return False
        behind = {step.index: step for value in op.inputs for step in self.behind[value]}
        chain = (*(behind[index] for index in sorted(behind)), op)
        stacks = [self.stacked[value] for value in op.inputs if value in self.stacked]
        try:
            made = self._made(op, chain, bool(stacks))
        except ReplayError:  # the way ends here, and `op` says why
            return False
        splits = self.graph.is_part(op) or self.graph.reorders(op)
        for value, array in made.items():
            self.arrays[value], self.behind[value] = array, chain
            self.part[value] = value if splits else next(iter(parts))
            if array.ndim > 1:
                self.stacked[value] = stacks[0] if stacks else (op.inputs[0], op)
        return True

    def _made(self, op: Op, chain: Sequence[Op], stacked: bool) -> dict[int, Array]:
        """Return what an operation makes on the grid: rows, or stacks of rows.

        Raises:
            ReplayError: if it makes rows that are no function of single elements.
        """
        inputs = {value: self.arrays[value] for value in op.inputs}
        found = run_ops((op,), dict(inputs), len(GRID))
        made = {value: found[value] for value in op.outputs}
        if op.index in self.graph.elementwise or _is_stack(made):
            return made
        rows = all(array.size == len(GRID) for array in made.values())
        if op.single and rows and not stacked and not self.graph.widens(op):
            self.graph.elementwise.add(op.index)
            return made
        ops, given = (chain, {self.start: GRID}) if stacked else ((op,), inputs)
        made = {value: _on_grid(self.graph, ops, value, given) for value in made}
        if not stacked:
            self.graph.elementwise.add(op.index)
        return made

    def steps_to(self, value: int) -> tuple[str, ...]:
        return tuple(
            op.name for op in self.behind[value] if op.kind != "move" and not op.is_neutral
        )


SourceKind = Literal["weight", "norm", "residual", "input"]


@dataclass(frozen=True)
class Source:
    """Where a signal begins anew, as seen from what it feeds.

    Attributes:
        kind: "weight" (the output of a layer), "norm", "residual" (a residual sum) or "input" (the
            example).
        value: its number; of a layer that holds several (a packed projection), the part's.
        op: what made it; None for the example.
    """

    kind: SourceKind
    value: int
    op: Op | None


@dataclass(frozen=True)
class Feed:
    """What an input of an operation is made of.

    Attributes:
        value: the input.
        sources: the nearest weights, norms, residual sums and inputs behind it.
        steps: the operations between, in the order of execution.
        function: the input as a function of the sources' arrays, in the order of `sources`; None
            where it is not elementwise (attention, a product of two signals' matrices, a sum over
            units).
        lost: why there is no function; empty where there is one.
    """

    value: int
    sources: tuple[Source, ...]
    steps: tuple[Op, ...]
    function: Callable[..., Array] | None
    lost: str = ""

    @cached_property
    def activation(self) -> Activation | None:
        """The function, if it is one of a single source and more than a scaling."""
        if self.function is None or len(self.sources) != 1 or is_affine(self.function(GRID)):
            return None
        return identify([op.name for op in self.steps if op.kind != "move"], self.function)


def feeding(graph: Graph, value: int) -> Feed:
    """Follow a value back to what it is made of, once for each graph and value.

    That is the nearest weights, norms, residual sums and inputs. Biases, scales, and whatever else a
    model does on the way without a layer are part of the way. Different parts of one layer's output
    (a gate and what it gates) are sources of their own.
    """
    return graph.once(_feed, value)


def _feed(graph: Graph, value: int) -> Feed:
    sources: dict[int, Source] = {}
    steps: dict[int, Op] = {}
    waiting = [value]
    while waiting:
        at = waiting.pop()
        op = graph.producers.get(_whole(graph, at))
        kind = _source_kind(graph, op)
        if kind is None:
            op = graph.producers.get(at)
        if kind is not None:
            sources[at] = Source(kind, at, op)
        elif op is not None and op.index not in steps:
            steps[op.index] = op
            waiting.extend(op.inputs)
    made = {at: -1 if (op := source.op) is None else op.index for at, source in sources.items()}
    order = sorted(sources, key=lambda at: (made[at], at))
    found = tuple(sources[at] for at in order)
    ops = tuple(steps[index] for index in sorted(steps))
    values = [source.value for source in found]
    if not found or _parts_meet(graph, ops):
        return Feed(value, found, ops, None, "parts of one signal meet" if found else "constants")
    if not all(_is_known(graph, op) for op in ops):
        rng = np.random.default_rng(0)
        try:
            _on_grid(graph, ops, value, {at: rng.permutation(GRID) for at in values})
        except ReplayError as error:
            return Feed(value, found, ops, None, str(error))

    def function(*arrays: Array) -> Array:
        return _run(ops, dict(zip(values, arrays, strict=True)), value)

    return Feed(value, found, ops, function)


def _whole(graph: Graph, value: int) -> int:
    """The value that this one is a part of; itself if it is none."""
    op = graph.producers.get(graph.trunk(value))
    if op is None or len(op.inputs) != 1 or op.uses or not graph.is_part(op):
        return value
    return graph.trunk(op.inputs[0])


def _parts_meet(graph: Graph, ops: Sequence[Op]) -> bool:
    """Whether different parts of one value take part: on a grid they would look the same."""
    splits = [op for op in ops if len(op.inputs) == 1 and graph.is_part(op)]
    parts = [(graph.trunk(op.inputs[0]), value) for op in splits for value in op.outputs]
    return len({whole for whole, _ in parts}) < len(parts)


def _source_kind(graph: Graph, op: Op | None) -> SourceKind | None:
    if op is None:
        return "input"
    if op.index in graph.norms:
        return "norm"
    if op.index in graph.joins:
        return "residual"
    return "weight" if op.kind in LAYERS else None


def is_affine(values: Array) -> bool:
    """Whether values on `GRID` lie on one line: a scaling or a sign is no activation."""
    return _is_affine(values.tobytes(), values.dtype, values.shape)


@lru_cache(maxsize=1024)  # layers share few functions
def _is_affine(held: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    values = np.frombuffer(held, dtype).reshape(shape)
    return bool(np.allclose(values, line_through(values), rtol=1e-6, atol=1e-6))


def line_through(values: Array) -> Array:
    """Return the line between the first and the last of values on `GRID`."""
    first, last = float(values[0]), float(values[-1])  # a comparison gives booleans
    line: Array = first + (last - first) / (GRID[-1] - GRID[0]) * (GRID - GRID[0])
    return line


def _is_stack(made: dict[int, Array]) -> bool:
    """Return whether an operation made several rows of one."""
    return all(array.size > len(GRID) for array in made.values())


def _on_grid(graph: Graph, ops: Sequence[Op], value: int, given: dict[int, Array]) -> Array:
    """Return a value from rows of numbers for what it was made of.

    Raises:
        ReplayError: if it is no function of single elements; the message says why.
    """
    for op in ops:
        if graph.widens(op):
            raise ReplayError(f"{op.name} joins signals along different axes")

    def function(rows: Sequence[Array]) -> Array:
        return run_ops(ops, dict(zip(given, rows, strict=True)))[value]

    new = dict.fromkeys(op.name for op in ops if not _is_known(graph, op))
    return elementwise(
        function, list(given.values()), rtol=1e-9, atol=1e-12, name="·".join(list(new)[:4])
    )


def _is_known(graph: Graph, op: Op) -> bool:
    """Return whether an operation is known to be elementwise; together such operations are, too."""
    return op.index in graph.elementwise or (op.kind == "move" and not op.uses) or op.is_neutral


def _run(ops: Sequence[Op], given: dict[int, Array], value: int) -> Array:
    """Return a value as float64 numbers, from arrays of any one shape."""
    shape = next(iter(given.values())).shape
    rows = {at: np.ravel(array) for at, array in given.items()}
    return np.asarray(run_ops(ops, rows)[value], np.float64).reshape(shape)
