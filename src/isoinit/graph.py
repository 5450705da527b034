"""What a traced model is: operations in the order they ran, and what each does with parameters.

Nothing here knows how the model was read. Values are numbered; a value that depends on neither the
example nor a parameter (a mask, a table of positions) is a constant and has no number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from isoinit.scale.fans import Layout

Array = npt.NDArray[np.float64]

# What an operation is to the signal. A "map" mixes its inputs by a weight, a "lookup" reads rows of
# a table or a parameter itself, a "move" rearranges (reshape, pooling, dropout); everything else is
# an "other", which may still turn out to be an elementwise function.
Kind = Literal["map", "norm", "lookup", "recurrent", "attention", "move", "other"]

SUMS = frozenset({"add", "sub"})
# Moves that give parts of a tensor: different units, or different steps in time.
SPLITS = frozenset({"chunk", "split", "tensor_split", "unbind", "getitem", "select", "narrow"})


@dataclass(frozen=True)
class Use:
    """One use of one parameter by one operation.

    Attributes:
        parameter: its name.
        slot: what the operation does with it: "weight", "bias", "scale", "shift", "table", "slope",
            "input weight", "recurrent weight", "input bias", "recurrent bias", "position", "token"
            or "other".
        layout: what its axes mean there.
    """

    parameter: str
    slot: str
    layout: Layout


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
    """

    index: int
    name: str
    kind: Kind
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    uses: tuple[Use, ...] = ()
    replay: Callable[[Sequence[Array]], Array] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Graph:
    """Operations in the order of execution.

    Attributes:
        shapes: the shape of every parameter, by name.
        ops: the operations.
        outputs: the values that the model returns.
        how: "fake" (run on fake tensors), "real" (run on the example) or "structure" (not run).
        aliases: other names of tied parameters, and the name that each stands for.
    """

    shapes: dict[str, tuple[int, ...]]
    ops: tuple[Op, ...]
    outputs: tuple[int, ...]
    how: str
    aliases: dict[str, str] = field(default_factory=dict)

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
    def _ancestors(self) -> dict[int, int]:
        """For each value, a bit set of the values that it depends on, itself included."""
        sets: dict[int, int] = {}
        for op in self.ops:
            below = 0
            for value in op.inputs:
                below |= sets.setdefault(value, 1 << value)
            for value in op.outputs:
                sets[value] = below | 1 << value
        return sets

    def depends(self, value: int, on: int) -> bool:
        """Whether `value` was computed from the value `on`."""
        return bool(self._ancestors.get(value, 0) >> on & 1)

    def origin(self, value: int) -> int:
        """The value that this one is the whole of, rearranged (a cast, a reshape), or itself."""
        op = self.producers.get(value)
        while op and op.kind == "move" and len(op.inputs) == 1 and op.name not in SPLITS:
            value = op.inputs[0]
            op = self.producers.get(value)
        return value

    def residual(self, op: Op) -> tuple[int, int] | None:
        """The skip and the branch of a sum in which one side was computed from the other."""
        if op.name in SUMS and len(op.inputs) == 2:
            for skip, branch in (op.inputs, op.inputs[::-1]):
                if self.depends(branch, on=self.origin(skip)):
                    return self.origin(skip), branch
        return None

    def uses_of(self, parameter: str) -> list[tuple[Op, Use]]:
        """Every use of a parameter, in the order of execution."""
        return self._uses.get(parameter, [])

    @cached_property
    def _uses(self) -> dict[str, list[tuple[Op, Use]]]:
        found: dict[str, list[tuple[Op, Use]]] = {}
        for op in self.ops:
            for use in op.uses:
                found.setdefault(use.parameter, []).append((op, use))
        return found


# A grid over the inputs that a unit sees, without round numbers: two functions that agree on all of
# it are the same for every purpose here.
GRID: Array = np.linspace(-6.0, 6.0, 96) + 1 / math.pi / 96


@dataclass(frozen=True)
class Following:
    """What happens to a value on its way to the next weight, norm, sum or output.

    Attributes:
        names: the elementwise operations on the way, such as ("sigmoid", "mul"); empty where
            together they only scale or shift.
        function: the way as one NumPy function.
        norm: whether a norm layer stands before the operations.
        end: the name of the operation that the way leads to, "output" at the model's end.
    """

    names: tuple[str, ...]
    function: Callable[[Array], Array]
    norm: bool
    end: str


def following(graph: Graph, value: int, *, norm: bool = False) -> Following:
    """Follow a value forward through everything elementwise.

    Branches that meet again, such as x·sigmoid(x), count as one function; different parts of a
    tensor that meet (a gated unit) do not. Norm layers are looked through when nothing elementwise
    stands before them: a convolution, batch norm and ReLU are one unit. So are sums with other
    weights' outputs (the input and the state of a recurrent unit), but not with a residual skip.
    """
    way = _Way(graph, value)
    end_value, end = way.walk()
    if end is not None and not way.steps_to(end_value):
        if end.kind == "norm":
            return following(graph, end.outputs[0], norm=True)
        if end.name in SUMS and len(end.inputs) == 2 and graph.residual(end) is None:
            return following(graph, end.outputs[0], norm=norm)
    steps = () if is_affine(way.arrays[end_value]) else way.steps_to(end_value)

    def function(z: Array) -> Array:
        arrays = {value: z}
        for op in way.ops_to(end_value):
            result = _apply(op, [arrays[v] for v in op.inputs])
            arrays.update(dict.fromkeys(op.outputs, result))
        return arrays[end_value]

    return Following(steps, function, norm, end.name if end else "output")


class _Way:
    """The elementwise region that grows forward from one value."""

    def __init__(self, graph: Graph, value: int) -> None:
        self.graph, self.start = graph, value
        self.arrays: dict[int, Array] = {value: GRID}
        self.part: dict[int, int] = {value: value}  # which part of the start each value holds
        self.behind: dict[int, tuple[Op, ...]] = {value: ()}

    def walk(self) -> tuple[int, Op | None]:
        """Grow the region; return the value that leaves it, and the operation that takes it.

        Of several ways out the first through a true function counts: a value that is also added to
        a residual stream is still the input of its activation. A way that only ends in a statistic
        (the mean square of a norm spelled out in steps) counts least.
        """
        exits: list[tuple[int, Op | None]] = []
        waiting = {op.index: op for op in self.graph.consumers.get(self.start, [])}
        while waiting:
            op = waiting.pop(min(waiting))
            if self._absorb(op):
                for value in op.outputs:
                    readers = self.graph.consumers.get(value, [])
                    waiting.update({reader.index: reader for reader in readers})
            else:
                exits += [(value, op) for value in op.inputs if value in self.arrays]
        exits += [(v, None) for v in self.arrays if not self.graph.consumers.get(v)]

        def rank(way: tuple[int, Op | None]) -> tuple[bool, bool]:
            value, op = way
            return op is not None and op.name in STATISTICS, is_affine(self.arrays[value])

        return min(exits, key=rank, default=(self.start, None))

    def _absorb(self, op: Op) -> bool:
        if op.uses or any(value not in self.arrays for value in op.inputs):
            return False
        parts = {self.part[value] for value in op.inputs}
        if len(parts) > 1:
            return False
        result = _elementwise(op, self.arrays)
        if result is None:
            return False
        behind = {step.index: step for value in op.inputs for step in self.behind[value]}
        chain = (*(behind[index] for index in sorted(behind)), op)
        splits = op.name in SPLITS
        for value in op.outputs:
            self.arrays[value], self.behind[value] = result, chain
            self.part[value] = value if splits else next(iter(parts))
        return True

    def ops_to(self, value: int) -> tuple[Op, ...]:
        return self.behind[value]

    def steps_to(self, value: int) -> tuple[str, ...]:
        return tuple(op.name for op in self.behind[value] if op.kind != "move")


def is_affine(values: Array) -> bool:
    """Whether values on `GRID` lie on one line: a scaling or a sign is no activation."""
    slope = (values[-1] - values[0]) / (GRID[-1] - GRID[0])
    line = values[0] + slope * (GRID - GRID[0])
    return bool(np.allclose(values, line, rtol=1e-6, atol=1e-6))


STATISTICS = frozenset({"mean", "sum", "var", "std", "var_mean", "norm", "vector_norm", "amax"})


def _elementwise(op: Op, arrays: dict[int, Array]) -> Array | None:
    """The operation on arrays; None if it is not elementwise."""
    inputs = [arrays[value] for value in op.inputs]
    if op.kind != "move" and (op.replay is None or len(op.outputs) != 1):
        return None
    try:
        whole = _apply(op, inputs)
        # Elementwise means that a part of the input gives that part of the output: a softmax or a
        # cumulative sum, which have the right shape, do not pass.
        half = len(inputs[0]) // 2
        parts = [_apply(op, [x[:half] for x in inputs]), _apply(op, [x[half:] for x in inputs])]
    except Exception:  # the operation refuses a plain row of numbers: not elementwise
        return None
    if whole.shape != inputs[0].shape or any(part.ndim != 1 for part in parts):
        return None
    same = np.allclose(whole, np.concatenate(parts), rtol=1e-9, atol=1e-12, equal_nan=True)
    return whole if same else None


def _apply(op: Op, inputs: Sequence[Array]) -> Array:
    return inputs[0] if op.replay is None else op.replay(inputs)
