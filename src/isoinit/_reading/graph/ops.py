"""One operation of a traced model, and what it does with parameters.

Values are numbered in the order in which they were made. A value that depends on neither the example
nor a parameter (a mask, a table of positions) is a constant and has no number.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from isoinit.initializers.scale.fans import Layout

Array = npt.NDArray[np.float64]
# An operation as a function of arrays in place of its inputs: one array for each of its outputs.
Replay = Callable[[Sequence[Array]], Sequence[Array]]
# The gradients by the arrays of an operation of one output, given the arrays and that by the output.
Pull = Callable[[Sequence[Array], Array], Sequence[Array]]

# What an operation is to the signal. A "map" mixes its inputs by a weight, a "lookup" reads rows of
# a table or a parameter itself, a "move" rearranges (reshape, pooling, dropout); everything else is
# an "other", which may still turn out to be an elementwise function.
Kind = Literal["map", "norm", "lookup", "recurrent", "attention", "move", "other"]
LAYERS: tuple[Kind, ...] = ("map", "lookup", "recurrent", "attention")  # operations with a weight

SUMS = frozenset({"add", "sub"})
BESIDE = frozenset("cat concat stack hstack vstack".split())  # put values side by side, and no more
# The slots in which a tensor may be made of several random parameters.
COMPOSED = frozenset({"weight", "table", "position", "token"})
PRODUCTS = frozenset({"matmul", "bmm", "mm", "einsum", "scaled_dot_product_attention"})
STATISTICS = frozenset("mean sum var std var_mean norm vector_norm amax amin max min".split())


@dataclass(frozen=True)
class Part:
    """A parameter that a tensor is made of.

    Attributes:
        parameter: its name.
        layout: what its axes mean, as it is stored.
        kind: what it is to the tensor: "weight" (it gives the tensor its random values), "scale" or
            "shift" (of fewer elements than what it multiplies or joins), "adapter in" or "adapter out"
            (a product of low rank beside a weight) or "other".
    """

    parameter: str
    layout: Layout
    kind: str


@dataclass(frozen=True)
class Made:
    """How a tensor that an operation uses is made of parameters alone.

    Attributes:
        parts: the parameters.
        layout: what the axes of the tensor mean to the operation.
        replay: computes the tensor from an array for each part; None where that is not possible.
        reason: why it is not possible; "" where it is.
        function: the same for a single part as a function of its elements, whatever the shape; None
            where it is none.
        key: hashable; equal for tensors that are made in the same way from the same shapes.
    """

    parts: tuple[Part, ...]
    layout: Layout
    replay: Callable[[Sequence[Array]], Array] | None = field(compare=False, repr=False)
    reason: str
    function: Callable[[Array], Array] | None = field(compare=False, repr=False)
    key: Hashable = field(repr=False)


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
        made: how what the operation uses is made of it, perhaps with others; None where it is the
            parameter itself, perhaps rearranged.
        part: whether it uses a part of the parameter alone.
        slope: for a slope of a function that the model writes itself, the value that it starts at.
    """

    parameter: str
    slot: str
    layout: Layout
    through: tuple[str, ...] = ()
    neutral: float | None = None
    made: Made | None = field(default=None, repr=False)
    part: bool = False
    slope: float | None = None

    @property
    def kind(self) -> str:
        """What the parameter is to the tensor that is used: see `Part`."""
        if self.made is None:
            return "weight"
        return next(part.kind for part in self.made.parts if part.parameter == self.parameter)

    @property
    def whole(self) -> Layout:
        """The layout of the tensor that the operation uses."""
        return self.layout if self.made is None else self.made.layout


@dataclass(frozen=True)
class Detail:
    """What the arguments of a call say that its inputs and its name do not.

    Attributes:
        axes: of a move, the axes of its first input that each axis of its output runs along; None
            where that is not known.
        dims: the axes that it works along: a mean, a softmax, a concatenation.
        power: what it does to the second moment of every element: dropout in training 1/(1 - p);
            of attention, to that of the scores, if each had been divided by the root of their terms.
        becomes: of a product of tensors that sums over axes of both, for each input the axis of the
            result that each of its axes becomes; None for those that it sums over.
        window: how many elements a pooling operation takes together, or rows a bag of them; 0 where
            that is not known.
        clip: of a lookup, the largest norm of a row, and which norm; None where rows are as they are.
        pool: what makes one row of a bag of rows: "sum", "mean" or "max"; "" where nothing does.
        constant: mean and second moment of the constant tensor that it adds or multiplies by, or that
            it looks up rows of.
        alike: of such a constant, the mean product of two rows in the same column; mean² where that is
            not known.
        causal: whether attention looks back only.
        left: of any other constant mask on scores, the share of places that it leaves.
        inside: of a convolution, the share of its fan-in that falls on the input, not on padding; of
            padding, the share of its elements that are the input's and no zeros.
        groups: of a norm over the places of each example, into how many groups it parts the units; of
            a layer of attention, its heads.
        live: of a norm, whether it measures what it is given; batch norm in evaluation does not.
        second: of a norm, the second moment of what it makes; 1/n where it divides by a length.
    """

    axes: tuple[tuple[int, ...], ...] | None = None
    dims: tuple[int, ...] = ()
    becomes: tuple[tuple[int | None, ...], ...] = ()
    power: float = 1.0
    window: int = 0
    clip: tuple[float, float] | None = None
    pool: str = ""
    constant: tuple[float, float] | None = None
    alike: float = 0.0
    causal: bool = False
    left: float = 1.0
    inside: float = 1.0
    groups: int = 0
    live: bool = True
    second: float = 1.0

    @property
    def summed(self) -> tuple[tuple[int, ...], ...]:
        """The axes of each input that a product of tensors sums over."""
        return tuple(
            tuple(axis for axis, new in enumerate(one) if new is None) for one in self.becomes
        )


class ReplayError(Exception):
    """An operation cannot be replayed on the arrays that it was given; the message says why."""


@dataclass(frozen=True)
class Mixed:
    """An operation that reads constant tensors of several values.

    Attributes:
        replay: computes the outputs from arrays in place of the inputs and then of the constants.
        rows: for each such constant some of its values, evenly spaced over the tensor.
        pull: the gradients by all of these arrays.
    """

    replay: Replay
    rows: tuple[Array, ...]
    pull: Pull | None = None


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes:
        index: its place in the order of execution.
        name: what torch calls it: "linear", "relu", "add".
        kind: what it is to the signal.
        inputs, outputs: the numbers of the values it reads and makes.
        uses: the parameters it uses.
        replay: computes the outputs from arrays in place of `inputs`, a PReLU's slope as it starts;
            None for moves, and where `unplayed` says why.
        detail: what its arguments say beyond that.
        rank: the number of axes of the input that has most: arrays are replayed with as many.
        mixed: the same where it reads constant tensors of several values; None for others.
        unplayed: why `replay` is None; empty for moves.
        pull: the exact gradient of `replay`; a jump has none. None where there is no replay.
        chance: what chance does to the second moment of every element, beyond `replay`, which is what
            it does on average: 2 where each element is kept and doubled in half of the calls.
        single: whether `replay` is known to be a function of single elements; others are tried.
    """

    index: int
    name: str
    kind: Kind
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    uses: tuple[Use, ...] = ()
    replay: Replay | None = field(default=None, compare=False)
    detail: Detail = field(default=Detail(), compare=False)
    rank: int = field(default=1, compare=False)
    mixed: Mixed | None = field(default=None, compare=False)
    unplayed: str = field(default="", compare=False)
    pull: Pull | None = field(default=None, compare=False)
    chance: float = field(default=1.0, compare=False)
    single: bool = field(default=False, compare=False)

    def play(self, inputs: Sequence[Array]) -> Sequence[Array]:
        """Return the outputs from arrays in place of the inputs.

        A move, a neutral bias and a neutral scale leave their first input as it is.

        Raises:
            ReplayError: if the operation cannot be replayed, or not on these arrays.
        """
        if self.replay is None:
            if inputs and (self.kind == "move" or self.is_neutral):
                return [inputs[0]] * len(self.outputs)
            why = "uses parameters" if self.uses else "picks from constants"
            raise ReplayError(f"{self.name} {self.unplayed or why}")
        try:
            return self.replay(inputs)
        except ReplayError as error:
            raise ReplayError(f"{self.name} {error}") from error

    @property
    def is_neutral(self) -> bool:
        """Whether it only adds a bias or multiplies by a scale, which do nothing at initialization."""
        known = [use.neutral is not None for use in self.uses]
        return self.kind == "other" and len(self.inputs) == 1 and bool(known) and all(known)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where there is none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
