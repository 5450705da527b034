"""What the functions of a walk share: the graph, what fills its parameters, the signals so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from isoinit._planning.effective import Moments, moments_for, moments_of
from isoinit._planning.propagation.draws import Draws
from isoinit._planning.propagation.samples import Segments, Signal
from isoinit._reading.graph import Graph, Op, Use
from isoinit.initializers import Initializer

# What a parameter is filled with, given the signal that its operation reads.
Fill = Callable[[Op, Use, "Signal | None"], Initializer | None]


@dataclass(frozen=True)
class Context:
    """One walk through a graph.

    Attributes:
        graph: what the model does.
        fill: what each parameter is filled with.
        nominal: whether to leave out what follows from the example alone (see `walk.propagate`).
        signals: the signals known so far, by the number of the value.
        segments: what is known of the parts of a value that lie side by side, by its number.
        of_example: the values that were made of the example alone, with no parameter.
        rng: the source of all samples; which sample is drawn when is part of every plan.
    """

    graph: Graph
    fill: Fill
    nominal: bool
    signals: dict[int, Signal] = field(default_factory=dict)
    segments: dict[int, Segments] = field(default_factory=dict)
    of_example: set[int] = field(default_factory=set)
    rng: Draws = field(default_factory=Draws)

    def ask(self, op: Op, fed: Signal | None) -> dict[str, Initializer | None]:
        """Return what an operation's parameters are filled with, by slot."""
        return {use.slot: self.fill(op, use, fed) for use in op.uses}

    def moments(self, op: Op, use: Use, fed: Signal | None) -> Moments | None:
        """Return the moments of the tensor that an operation uses; None where they are not known."""
        if use.made is None:
            initializer = self.fill(op, use, fed)
            if initializer is None or use.through:
                return None
            return moments_for(initializer, self.graph.filled_as(use.parameter, use.layout))
        parts = {other.parameter: other for other in op.uses if other.made is use.made}
        made = self.graph.made_as_filled(use.made)
        return moments_of(made, {name: self.fill(op, u, fed) for name, u in parts.items()})

    def aligned(self, op: Op, axes: Sequence[frozenset[int]]) -> frozenset[int]:
        """Return the axes of an operation's output that these axes of its inputs are, broadcast."""
        sizes = self.graph.sizes
        rank = len(sizes.get(op.outputs[0], ()))
        return frozenset(
            axis + rank - len(sizes.get(value, ()))
            for value, its in zip(op.inputs, axes, strict=True)
            for axis in its
        )

    def last_axis(self, value: int) -> frozenset[int]:
        """Return the axis along which most layers have their units: the last one."""
        return frozenset({max(len(self.graph.sizes.get(value, ())) - 1, 0)})


# The signal that an operation makes of the signals that it reads; None where that is not known.
Route = Callable[[Context, Op, Sequence[Signal]], Signal | None]
