"""What a variable of a jaxpr holds: a signal, a parameter, a constant, or something made of these.

A parameter's view is a NumPy array of bytes without memory of its own: its strides tell which axes of
the parameter each of its axes runs along, whatever reshapes and transpositions came before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from isoinit._reading.graph import Array

View = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Signal:
    """A value of the graph.

    Attributes:
        number: its number.
        dropped: the axes over which a reduction ran. The value has them still, with one element each:
            a sum that is broadcast back is the same value. What needs it without them moves it first.
    """

    number: int
    dropped: tuple[int, ...] = ()


@dataclass(frozen=True)
class Parameter:
    """A parameter, or a view of it, perhaps after functions of its single elements.

    Attributes:
        name: its name.
        view: the view; its strides are those of a contiguous array of bytes.
        through: the operations that it went through: ("exp", "neg").
        function: the same as a function of its elements; None where it is none.
        added: whether it was added to zeros: what multiplies it then is no signal that it scales, but
            one that a bias was added to.
        normed: whether the model's state multiplies it: the scale of a norm layer in evaluation.
        whole: the view that was first: all of the parameter; None for that one itself.
        repeated: whether elements stand at places of the model's choice, as looked-up rows do.
    """

    name: str
    view: View
    through: tuple[str, ...] = ()
    function: Callable[[Array], Array] | None = None
    repeated: bool = False
    added: bool = False
    normed: bool = False
    whole: View | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the view."""
        return self.view.shape

    @property
    def origin(self) -> int:
        """Where the parameter's own first element would lie."""
        return start_of(self.view) if self.whole is None else start_of(self.whole)

    @property
    def exact(self) -> bool:
        """Whether it is the parameter itself, perhaps rearranged."""
        return self.function is None and not self.repeated

    @property
    def elements(self) -> int:
        """How many different elements it shows."""
        return distinct(self.view)


@dataclass(frozen=True)
class Joined:
    """Parameters side by side.

    Attributes:
        parts: what stands side by side, in order.
        axis: the axis along which they do.
    """

    parts: tuple[Parameter, ...]
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole."""
        first = list(self.parts[0].shape)
        first[self.axis] = sum(part.shape[self.axis] for part in self.parts)
        return tuple(first)


@dataclass(frozen=True)
class Composed:
    """A tensor made of parameters, by more than rearrangements and functions of single elements.

    Attributes:
        shape: its shape.
        kinds: what each parameter is to it: see `graph.Part`.
        through: the operations on the way.
        make: computes it from a value for each parameter.
        reason: why it cannot be computed; "" where it can.
        elements: how many different elements it has.
        key: hashable; equal for tensors that are made in the same way from the same shapes.
        beside: for each parameter that scales or shifts it, what it is where it does.
        factors: of a product of two matrices, its rank and the parameters of both sides; else None.
    """

    shape: tuple[int, ...]
    kinds: Mapping[str, str]
    through: tuple[str, ...]
    make: Callable[[Mapping[str, Array]], Array]
    elements: int
    key: Hashable
    reason: str = ""
    factors: tuple[int, tuple[str, ...], tuple[str, ...]] | None = None
    beside: Mapping[str, Weight] = field(default_factory=dict)


@dataclass(frozen=True)
class Pending:
    """A statistic times a scale: the signal that both multiply comes later."""

    signal: Signal
    scale: Weight


@dataclass(frozen=True)
class Known:
    """A constant.

    Attributes:
        make: computes its values; raises ReplayError where they are not known.
        shape: its shape.
        floats: whether it holds floating-point numbers.
        wave: whether it is a sine or cosine of places, whose square is a half on average.
        ordered: whether it was made by comparing places, as a mask that looks back is.
        drawn: whether its values are left to chance.
        state: whether it follows from the model's state, as from running statistics.
    """

    make: Callable[[], npt.NDArray[Any]]
    shape: tuple[int, ...]
    floats: bool
    wave: bool = False
    ordered: bool = False
    drawn: bool = False
    state: bool = False
    kept: list[Any] = field(default_factory=list, compare=False, repr=False)


@dataclass(frozen=True)
class Steps:
    """A scan, of which the first steps are walked one by one."""

    count: int


@dataclass(frozen=True)
class Branch:
    """A branch that is walked.

    Attributes:
        index: which one.
        certain: whether it is taken in every run, whatever the parameters and the example.
    """

    index: int
    certain: bool = True


Weight = Parameter | Joined | Composed
Held = Signal | Parameter | Joined | Composed | Pending | Known
Visit = list[Held] | Steps | Branch
"""What the outputs of an equation hold, or a loop or a branch that is walked from here."""
WEIGHTS = (Parameter, Joined, Composed)


def names_of(weight: Weight) -> tuple[str, ...]:
    """Return the parameters that something is made of."""
    if isinstance(weight, Parameter):
        return (weight.name,)
    if isinstance(weight, Joined):
        return tuple(dict.fromkeys(part.name for part in weight.parts))
    return tuple(weight.kinds)


def blank(shape: Sequence[int]) -> View:
    """Return an array of bytes of a shape, whose strides are those of a contiguous one.

    It has one byte of memory, which stands for all: nothing may be read from it.
    """
    strides = [math.prod(max(size, 1) for size in shape[axis + 1 :]) for axis in range(len(shape))]
    return as_strided(np.empty(1, np.int8), tuple(shape), strides, writeable=False)


def distinct(view: View) -> int:
    """Return how many different elements a view shows: repeated ones count once."""
    steps = zip(view.shape, view.strides, strict=True)
    return math.prod(size for size, step in steps if step != 0 or size == 0)


def extents(held: Weight) -> list[int]:
    """Return the axes, counted from the last (-1), along which something has several elements."""
    rank = len(held.shape)
    steps = held.view.strides if isinstance(held, Parameter) else (1,) * rank
    return [a - rank for a, n in enumerate(held.shape) if n > 1 and steps[a] != 0]


def start_of(view: View) -> int:
    """Return the address of a view's first element."""
    return int(view.__array_interface__["data"][0])


def viewed(parameter: Parameter, view: View) -> Parameter:
    """Return another view of a parameter."""
    whole = parameter.view if parameter.whole is None else parameter.whole
    return replace(parameter, view=view, whole=whole)
