"""Operations in the order of execution, and the values that flow between them."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import cached_property

from isoinit._reading.graph.ops import Op

# Moves that give parts of a tensor: different units, or different steps in time.
REORDERING = frozenset({"flip", "roll", "pad", "getitem", "index_select"})
SPLITS = frozenset({"chunk", "split", "tensor_split", "unbind", "getitem", "select", "narrow"})


@dataclass(frozen=True)
class Dataflow:
    """What makes each value, what reads it, and which values follow from which.

    Attributes:
        ops: the operations, in the order of execution.
        sizes: the shape of every value.
    """

    ops: tuple[Op, ...]
    sizes: dict[int, tuple[int, ...]]

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

    def reached_from(self, value: int) -> set[int]:
        """Every value that was computed from this one, itself included."""
        reached, waiting = {value}, [value]
        while waiting:
            for op in self.consumers.get(waiting.pop(), []):
                new = [v for v in op.outputs if v not in reached]
                reached.update(new)
                waiting.extend(new)
        return reached

    def unweighted(self, value: int, streams: Container[int] = ()) -> frozenset[int] | None:
        """Return the inputs, and the streams, that a value is made of without a parameter.

        None where a parameter takes part.
        """
        waiting, found, met = [value], set[int](), set[int]()
        while waiting:
            if (at := waiting.pop()) in met:
                continue
            met.add(at)
            maker = self.producers.get(at)
            if at in streams or maker is None:
                found.add(at)
            elif maker.uses:
                return None
            else:
                waiting.extend(maker.inputs)
        return frozenset(found)

    def leading_to(self, values: Iterable[int]) -> set[int]:
        """Every value that one of these was computed from, themselves included."""
        found = set(values)
        waiting = list(found)
        while waiting:
            op = self.producers.get(waiting.pop())
            new = [v for v in op.inputs if v not in found] if op else []
            found.update(new)
            waiting.extend(new)
        return found

    def is_part(self, op: Op) -> bool:
        """Whether an operation gives parts of its input: `x[:, 0]`, but not `x[None]`."""
        if not op.inputs:
            return False
        sizes = [math.prod(self.sizes.get(value, ())) for value in (op.inputs[0], op.outputs[0])]
        return op.name in SPLITS and sizes[0] != sizes[1]

    def reorders(self, op: Op) -> bool:
        """Whether an operation gives its input in another order: `x.flip(0)`, `x.roll(1, 1)`."""
        return op.kind == "move" and op.name in REORDERING and bool(op.detail.dims)

    def widens(self, op: Op) -> bool:
        """Whether an operation combines signals along different axes: all pairs of elements."""
        if op.kind != "other" or len(op.inputs) < 2 or len(op.outputs) != 1 or op.detail.dims:
            return False
        made, *given = (math.prod(self.sizes.get(v, ())) for v in (*op.outputs, *op.inputs))
        return made > max(given)

    def trunk(self, value: int) -> int:
        """The value that this one is the whole of: rearranged, cast, or times a constant."""
        while (op := self.producers.get(value)) is not None:
            moved = op.kind == "move" and not op.uses and not self.is_part(op)
            scaled = op.name in ("mul", "div") and (op.is_neutral or op.replay is not None)
            if len(op.inputs) != 1 or not (moved or scaled):
                break
            value = op.inputs[0]
        return value
