"""One operation of a traced model, and what it does with parameters.

Values are numbered in the order in which they were made. A value that depends on neither the example
nor a parameter (a mask, a table of positions) is a constant and has no number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from isoinit.initializers.scale.fans import Layout

Array = npt.NDArray[np.float64]
Replay = Callable[[Sequence[Array]], Array]  # an operation as a function of arrays
# The gradient by each of the arrays, given the arrays and the gradient by the result.
Pull = Callable[[Sequence[Array], Array], list[Array]]

# What an operation is to the signal. A "map" mixes its inputs by a weight, a "lookup" reads rows of
# a table or a parameter itself, a "move" rearranges (reshape, pooling, dropout); everything else is
# an "other", which may still turn out to be an elementwise function.
Kind = Literal["map", "norm", "lookup", "recurrent", "attention", "move", "other"]
LAYERS: tuple[Kind, ...] = ("map", "lookup", "recurrent", "attention")  # operations with a weight

SUMS = frozenset({"add", "sub"})
PRODUCTS = frozenset({"matmul", "bmm", "mm", "einsum", "scaled_dot_product_attention"})
STATISTICS = frozenset({"mean", "sum", "var", "std", "var_mean", "norm", "vector_norm", "amax"})


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
        terms: how many terms a contraction by letters sums; 0 for other operations.
        groups: of a norm over the places of each example, into how many groups it parts the units.
        live: of a norm, whether it measures what it is given; batch norm in evaluation does not.
    """

    axes: tuple[tuple[int, ...], ...] | None = None
    dims: tuple[int, ...] = ()
    power: float = 1.0
    window: int = 0
    constant: tuple[float, float] | None = None
    causal: bool = False
    terms: int = 0
    groups: int = 0
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
        pull: of an operation with a replay, its exact gradient; a jump has none.
    """

    index: int
    name: str
    kind: Kind
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    uses: tuple[Use, ...] = ()
    replay: Replay | None = field(default=None, compare=False)
    detail: Detail = field(default=Detail(), compare=False)
    pull: Pull | None = field(default=None, compare=False)

    def apply(self, inputs: Sequence[Array]) -> Array:
        """Return the output from arrays in place of the inputs; a move leaves the first as it is."""
        return inputs[0] if self.replay is None else self.replay(inputs)

    @property
    def is_neutral(self) -> bool:
        """Whether it only adds a bias or multiplies by a scale, which do nothing at first."""
        known = [use.neutral is not None for use in self.uses]
        return self.kind == "other" and len(self.inputs) == 1 and bool(known) and all(known)
