"""What was measured of a model: numbers alone, whatever framework they came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from isoinit._reading.graph import Graph, Kind
from isoinit._showing.page import Histogram

T = TypeVar("T")

# The operations whose output is a layer's signal.
SIGNALS: tuple[Kind, ...] = ("map", "recurrent", "attention")


class Measured:
    """Numbers that are equal where each is; NaN, which says "not measured", is equal to NaN.

    What dataclasses compare by themselves said so of one NaN up to Python 3.12, and not since.
    """

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return all(mine == theirs or known(mine) is known(theirs) for mine, theirs in pairs)


@dataclass(eq=False)
class LayerHealth(Measured):
    """The signal at the output of one layer, before the activation behind it.

    Attributes:
        name: the weight's name, without a final ".weight".
        value: which value of the graph was measured.
        mean, std, rms, largest: of the output, over the batch and all units; the last in absolute
            value.
        spread: how much an output differs between examples: the root mean square over units of the
            standard deviation along the first axis. What is the same for every example (the work
            of biases) carries nothing; NaN for a batch of one.
        correlation: of the outputs of two different examples, on average: their product by their
            mean square; 1 where all are the same, NaN for a batch of one.
        units: how many outputs there are at one place.
        elements: how many there are in all, over the batch and its places.
        rank: how many directions the outputs take, their mean left out: the participation ratio
            (Σλ)²/Σλ² of the covariance's eigenvalues λ, over at most 256 places of the batch.
        dead: share of the units whose activation is flat over all of the batch, as a ReLU is where
            it is never active; NaN where no activation follows.
        saturated: share of the values in a flat part of an activation that is bounded on both
            sides, such as tanh; NaN behind others.
        twins: share of the units that have a twin: the same output and the same gradient at every
            place that was looked at.
        gradient: root mean square of the loss's gradient by the output; NaN where none came back.
        gradient_mean, gradient_std, gradient_largest: the rest of it.
        expected: the root mean square that a plan expects; None without a plan that does.
    """

    name: str
    value: int
    mean: float = math.nan
    std: float = math.nan
    rms: float = math.nan
    largest: float = math.nan
    spread: float = math.nan
    correlation: float = math.nan
    units: int = 0
    elements: int = 0
    rank: float = math.nan
    dead: float = math.nan
    saturated: float = math.nan
    twins: float = 0.0
    gradient: float = math.nan
    gradient_mean: float = math.nan
    gradient_std: float = math.nan
    gradient_largest: float = math.nan
    expected: float | None = None


def forward_signal(layers: Sequence[LayerHealth]) -> list[float | None]:
    """Return the signal by depth: how much each layer's output differs between examples.

    Of a batch of one the size of the output stands for it. None where it is not known.
    """
    return [known(x.rms if math.isnan(x.spread) else x.spread) for x in layers]


def backward_signal(layers: Sequence[LayerHealth]) -> list[float | None]:
    """Return the size of the gradient at each layer's output; None where none came back."""
    return [known(layer.gradient) for layer in layers]


def known(value: T) -> T | None:
    """Return what was measured; None for what was not, which is NaN."""
    return None if value != value else value


@dataclass(frozen=True, eq=False)
class WeightHealth(Measured):
    """One parameter.

    Attributes:
        name: its name.
        mean, std, rms, largest: of its values; the last in absolute value.
        rank: of a weight matrix, its effective rank: the participation ratio (Σσ²)²/Σσ⁴ of its
            singular values σ, estimated with random vectors to some percent. Of an m × n matrix
            with independent entries mn/(m + n), of an orthogonal one min(m, n).
        full: what that would be for independent entries.
        twins: share of the units whose weights another unit has too.
        identical: whether all units have the same weights.
        gradient: root mean square of the loss's gradient by it; None where none came.
        histogram: how often its values, or some of many, fall into bins; None where it has none, or
            some are not finite.
        update: the root mean square of the first step of training, by that of the parameter, for
            the learning rate that was given; None without one, or for a parameter at zero.
    """

    name: str
    mean: float
    std: float
    rms: float
    largest: float
    rank: float
    full: float
    twins: float
    identical: bool
    gradient: float | None
    update: float | None
    histogram: Histogram | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Trouble:
    """What first was not finite.

    Attributes:
        what: "NaN" or "infinity".
        op: the operation that made it, by torch's name.
        backward: whether it was made on the way back: the operation's derivative, not its value.
        near: the layer that the operation is, or the last one before it; empty before the first.
        line: the line of the model's code that called it; empty where that is not known.
        parameters: the parameters that the operation uses.
    """

    what: str
    op: str
    backward: bool
    near: str
    line: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Measurement:
    """What one forward and backward pass showed.

    Attributes:
        layers: in the order in which they ran; a layer used twice appears twice.
        gradients: root mean square of the loss's gradient by each trained parameter; None where
            none came.
        loss: the loss; None where a random gradient was sent back.
        chance: the loss of a model that knows nothing, ln C; None where that is not known.
        began: whether the forward returned anything that depends on a trained parameter.
        outputs: how many tensors it returned.
        read: the values of those that the loss is worked out from; without a loss, of all.
        graph: the operations that ran.
        trouble: what first was not finite, and the operation that made it; None where all is.
        zeros: the values of the graph that are zero for every example, at every place.
        kept: the gradients themselves, where they were asked for or anything was zero.
    """

    layers: list[LayerHealth]
    gradients: dict[str, float | None]
    loss: float | None
    chance: float | None
    began: bool
    outputs: int
    read: frozenset[int]
    graph: Graph
    trouble: Trouble | None
    zeros: frozenset[int] = frozenset()
    kept: dict[str, Any] = field(default_factory=dict, repr=False)
