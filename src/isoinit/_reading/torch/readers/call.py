"""What a reader is given and what it gives back: a call, its weights, and steps of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from isoinit._reading.graph import BESIDE, COMPOSED, Array, Kind, Made, Op, Part, ReplayError, Use
from isoinit._reading.torch.calls import CASTS, INDEXED, LIKE
from isoinit._reading.torch.details import axes_along
from isoinit._reading.torch.made import FACTORED, Node, neutral_beside, remade, times
from isoinit._reading.torch.trees import tensors_in
from isoinit._system.private import unset_fake_temporarily
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

# The value at which a parameter in this slot does nothing.
NEUTRAL = {"bias": 0.0, "shift": 0.0, "scale": 1.0}
# A parameter stands beside the signal, or in its place: a token for a class, or for what is masked.
STANDS_IN = BESIDE | {"where", "setitem", "masked_scatter"}


@dataclass(frozen=True)
class Weight:
    """A tensor that is a parameter, a view of one, or a function of some.

    Attributes:
        tensor: as the call was given it.
        names: the parameters that it was made of.
        shapes: the shape of every parameter.
        exact: whether it is one parameter, perhaps rearranged.
        joined: whether it is several parameters side by side, perhaps rearranged.
        through: the operations that a single parameter went through before its use: ("neg", "exp").
        function: the same as a function of the parameter's elements; None where it is none.
        node: how it was made.
        view: of a copy of a view, that view, which tells where its elements lie in the parameter.
        kept: the shape of the parameter itself, if it holds what a sparse weight keeps; `shapes` then
            has that of the weight.
    """

    tensor: torch.Tensor
    names: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    exact: bool
    joined: bool = False
    through: tuple[str, ...] = ()
    function: Callable[[Array], Array] | None = None
    kept: tuple[int, ...] | None = None
    view: torch.Tensor | None = None
    node: Node = field(kw_only=True)

    @property
    def laid(self) -> torch.Tensor:
        """A tensor of its shape whose steps in memory are those in the parameter's."""
        return self.tensor if self.view is None else self.view

    def covers(self, shape: tuple[int, ...]) -> bool:
        """Return whether it holds as many elements as the parameter, whose shape this is."""
        return self.kept is None and self.tensor.numel() == math.prod(shape)

    @property
    def is_whole(self) -> bool:
        """Whether it is one parameter as that is stored, of which its form and its name tell all."""
        plain = self.exact and not self.through and self.kept is None and self.view is None
        return plain and self.tensor.shape == self.shapes[self.names[0]]

    @property
    def single(self) -> bool:
        """Whether it was made of one parameter, by elementwise steps and rearrangements alone."""
        return self.exact or self.function is not None

    def times(self, factor: float) -> Weight:
        """It, multiplied by a number: what `add(x, w, alpha=2)` adds."""
        if factor == 1:
            return self
        before = self.function
        function = (
            (lambda e: factor * (e if before is None else before(e))) if self.single else None
        )
        node = times(self.node, self.tensor, factor)
        through = (*self.through, "mul")
        return replace(
            self, exact=False, joined=False, through=through, function=function, node=node
        )

    def vanishes(self) -> bool:
        """Return whether it is zero whatever its parameters are: a state of zeros times a weight."""
        if self.exact or self.joined or self.node.reason:
            return False
        shapes = [self.shapes[name] for name in self.names]
        drawn = [np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate(shapes)]
        try:
            return not remade(self.node, dict(zip(self.names, drawn, strict=True))).any()
        except ReplayError:  # it is used, and says why there
            return False

    def uses(self, slot: str, layout: Callable[[tuple[int, ...]], Layout]) -> list[Use]:
        """Its use as a whole, the layout made from the shape of the parameter itself.

        Of a tensor that several parameters are made into, each is used as what it is to it: see
        `graph.Part`.
        """
        flat = self.exact and len(self.shapes[self.names[0]]) == 1 < self.tensor.dim()
        cut = (
            flat and self.tensor.numel() != self.shapes[self.names[0]][0]
        )  # a part of many weights
        if (self.exact and not cut) or self.joined:
            found = [self._use_of(name, slot, layout) for name in self.names]
        else:
            made = self._made(slot, layout)
            found = [self._use_in(part, slot, made) for part in made.parts]
        if self.exact and self.tensor.numel() < math.prod(self.shapes[self.names[0]]):
            found = [replace(use, part=True) for use in found]
        return found

    def _use_of(self, name: str, slot: str, layout: Callable[[tuple[int, ...]], Layout]) -> Use:
        shape = self.shapes[name]
        its = layout(shape) if self.kept is None else fans.kept(self.kept, layout(shape))
        return Use(name, slot, its, self.through, NEUTRAL.get(slot))

    def _made(self, slot: str, layout: Callable[[tuple[int, ...]], Layout]) -> Made:
        """Return how it is made, each parameter with the layout that it is stored in."""
        whole = layout(tuple(self.tensor.shape))
        kinds = self.node.kinds
        weights = [name for name, kind in kinds.items() if kind == "weight"]
        last_is_in = bool(whole.in_) and whole.in_[-1] == len(whole.grid) - 1
        parts = []
        for name, kind in kinds.items():
            shape = self.shapes[name]
            stored = fans.vector(shape)
            if kind.startswith("adapter"):
                reads = (kind == "adapter right") == last_is_in
                kind = f"adapter {'in' if reads else 'out'}"
                stored = fans.of_tensor(shape)
            elif kind == "weight" and (shape == tuple(self.tensor.shape)):
                stored = whole
            elif kind == "weight" and (self.single or self._is_factor(shape)):
                stored = layout(shape)
            elif kind == "weight" and len(weights) > 1 and slot not in COMPOSED:
                kind = "other"  # two biases: what each should be is not known
            parts.append(Part(name, stored, kind))
        names = list(kinds)
        node, reason = self.node, self.node.reason

        def replay(arrays: Sequence[Array]) -> Array:
            return remade(node, dict(zip(names, arrays, strict=True)))

        function = self.function if len(names) == 1 else None
        known = None if reason else replay
        return Made(tuple(parts), whole, known, reason, function, node.key)

    def _is_factor(self, shape: tuple[int, ...]) -> bool:
        """Whether a parameter of this shape is one of several matrices multiplied with each other."""
        return bool(FACTORED & set(self.through)) and len(shape) == self.tensor.dim() == 2

    def _use_in(self, part: Part, slot: str, made: Made) -> Use:
        its = {"scale": "scale", "shift": "shift", "other": "other"}.get(part.kind, slot)
        through = self.through
        neutral = self._neutral(part, its)
        return Use(part.parameter, its, part.layout, through, neutral, made)

    def _neutral(self, part: Part, slot: str) -> float | None:
        """Return the value of a parameter at which a bias adds nothing, or a scale changes nothing."""
        goal = NEUTRAL.get(slot)
        if goal is None:
            return None
        if part.kind in ("scale", "shift"):
            return neutral_beside(self.node, part.parameter, part.kind)
        if self.function is None:
            return None
        with unset_fake_temporarily():
            low, middle, high = self.function(np.array([0.0, 0.5, 1.0]))
        if high == low or not np.isclose(middle, (low + high) / 2):
            return None  # exp(w), softplus(w): what the model means by it is not known
        return float((goal - low) / (high - low))

    def axes(self) -> list[tuple[int, ...]]:
        """The axes of the parameter that each axis of a view runs along, found by strides."""
        return list(axes_along(self.shapes[self.names[0]], self.laid))


@dataclass(frozen=True)
class Step:
    """What a call is, as part of a graph."""

    name: str
    kind: Kind
    inputs: tuple[int, ...]
    uses: tuple[Use, ...]


@dataclass(frozen=True)
class Call:
    """One call of a torch function, with the means to ask what its tensors are."""

    name: str
    args: Sequence[Any]
    kwargs: dict[str, Any]
    weight: Callable[[Any], Weight | None]
    value: Callable[[Any], int | None]
    producer: Callable[[int], Op | None]
    source: Callable[[Any], int | None]

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, by position or by name."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default)

    def values(self, *tensors: Any) -> tuple[int, ...]:
        """The numbers of the tensors that carry signal."""
        numbers = [self.value(t) for t in tensors if isinstance(t, torch.Tensor)]
        return tuple(n for n in numbers if n is not None)

    def read(self, tensor: Any) -> tuple[int, ...]:
        """The number of the tensor that a weight multiplies, which may be a buffer of known values."""
        number = self.source(tensor)
        return () if number is None else (number,)

    def vector_uses(self, tensor: Any, slot: str) -> list[Use]:
        """The use of a bias or a scale, if there is one."""
        weight = self.weight(tensor)
        return weight.uses(slot, fans.vector) if weight else []

    def generic(self, kind: Kind) -> Step:
        """The call without special knowledge: parameters in it are added, multiplied or other."""
        inputs: list[int] = []
        weights: list[Weight] = []
        # A stack with constants may be a function of single elements: it is replayed.
        numbered = self.source if self.name in BESIDE - {"stack"} else self.value
        source = self.args[0] if self.args else None
        picked = self.weight(source) is not None or self.value(source) is not None
        for tensor in tensors_in((self.args, tuple(self.kwargs.values()))):
            first = tensor is source
            if self.name in LIKE and not first:
                continue
            mask = self.name == "index_put" and tensor.dtype == torch.bool
            index = not (first or mask or tensor.is_floating_point())
            if self.name in INDEXED and index and picked:
                continue  # it tells which entries, and is no part of the signal
            weight = self.weight(tensor)
            if weight is not None and self.name in ("add", "sub") and weight.vanishes():
                continue
            if weight is not None:
                weights.append(weight if first else weight.times(self.kwargs.get("alpha", 1)))
            elif (value := numbered(tensor)) is not None:
                inputs.append(value)
        uses = [
            use
            for weight in weights
            for use in weight.uses(self._slot(weight, inputs), fans.vector)
        ]
        return Step(self.name, kind, tuple(inputs), tuple(uses))

    def _slot(self, weight: Weight, inputs: list[int]) -> str:
        if self.name in ("mul", "div"):
            # Of several parameters that make a scale, what each should be is not known.
            return "scale" if weight.single or weight.joined else "other"
        if self.name in STANDS_IN:
            return "token"
        if self.name not in ("add", "sub"):
            return "other"
        maker = self.producer(inputs[0]) if inputs else None
        scales = (
            [_extents(u.layout.shape) for u in maker.uses if u.slot == "scale"] if maker else []
        )
        extents = _extents(weight.tensor.shape)
        if scales and (len(extents) < 2 or extents in scales):
            return "shift"
        return "position" if len(extents) > 1 and not self._is_one_each(weight, maker) else "bias"

    def _is_one_each(self, weight: Weight, maker: Op | None) -> bool:
        """Return whether what is added has one number for each unit, though units have several axes.

        So does a vector that is seen in groups, and what has the shape of the outputs of the map that
        stands before it: (heads, width), say.
        """
        if weight.exact and len(weight.shapes[weight.names[0]]) == 1:
            return weight.covers(weight.shapes[weight.names[0]])
        while maker is not None and maker.name in CASTS and len(maker.inputs) == 1:
            maker = self.producer(maker.inputs[0])
        if maker is None or maker.kind != "map":
            return False
        wholes = [use.whole for use in maker.uses if use.slot == "weight"]
        units = [_extents([whole.grid[axis] for axis in whole.out]) for whole in wholes]
        return _extents(weight.tensor.shape) in units


def _extents(shape: Sequence[int]) -> list[int]:
    """The sizes of the axes along which there is more than one element."""
    return [size for size in shape if size > 1]


Reader = Callable[[Call], list[Step]]
