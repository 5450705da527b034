"""Moments that were measured in a run, for values whose signal cannot be worked out."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import Signal, gaussian, products_of
from isoinit._reading.graph import LAYERS, Given, Graph, Op

T = TypeVar("T")


class Lost(NamedTuple):
    """A value that is needed and not known.

    Attributes:
        value: its number.
        by: the name of the operation behind which nothing is known.
    """

    value: int
    by: str


# A walk yields what it needs and does not know, is sent the moments of that value, or None, and
# returns its result at the end.
Walk = Generator[Lost, "Given | None", T]


@dataclass(frozen=True)
class Moments:
    """What was measured, and what has been asked for.

    Attributes:
        known: the moments by the number of the value.
        asked: for every value that a walk needed and did not know, the name of the operation behind
            which nothing was known.
    """

    known: Mapping[int, Given] = field(default_factory=dict)
    asked: dict[int, str] = field(default_factory=dict)

    def answer(self, walk: Walk[T]) -> T:
        """Return the result of a walk, with what is known for what it asks."""
        try:
            lost = next(walk)
            while True:
                self.asked[lost.value] = lost.by
                lost = walk.send(self.known.get(lost.value))
        except StopIteration as end:
            found: T = end.value
            return found

    @property
    def unknown(self) -> dict[int, str]:
        """What was asked for in vain."""
        return {value: by for value, by in self.asked.items() if value not in self.known}


@dataclass(frozen=True)
class Measured:
    """What one run of the model showed.

    Attributes:
        known: the moments of the values that were asked for, by number.
        why: why not of all of them; "" where all are known.
        notes: what is doubtful about the example.
        otherwise: whether the model did other operations in the run than when it was read.
    """

    known: Mapping[int, Given] = field(default_factory=dict)
    why: str = ""
    notes: tuple[str, ...] = ()
    otherwise: bool = False


def needed(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return the values that must be known for an operation's parameters to be chosen.

    These are what a weight, a position or a token is applied to and, for a weight that ends a
    residual branch, what its stream starts with.
    """
    beside = any(use.slot in ("position", "token") for use in op.uses)
    if not op.uses or not (op.kind in LAYERS or beside):
        return ()
    join = graph.ending.get(op.index)
    return op.inputs if join is None else (*op.inputs, join.start)


def units_of(graph: Graph, value: int) -> int:
    """Return the axis of a value along which its units lie: that which its first reader sums over."""
    rank = len(graph.sizes.get(value, ()))
    for op in graph.consumers.get(value, []):
        kernel = next((use.layout.kernel for use in op.uses if use.slot == "weight"), ())
        if op.kind == "map":
            return max(rank - 1 - len(kernel), 0)
    return max(rank - 1, 0)


def signal_of(context: Context, given: Given, units: frozenset[int], *, measured: bool) -> Signal:
    """Return Gaussian samples of these moments."""
    products = products_of(given.second, given.nearby, given.across)
    noise = gaussian(context.rng, products - given.mean**2).rows
    return Signal(noise + given.mean, units, measured=measured)
