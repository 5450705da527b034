"""What a reader is given and what it gives back: a call, its weights, and steps of a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from isoinit._reading.graph import Array, Kind, Op, Use
from isoinit._reading.torch.details import BESIDE, axes_along
from isoinit._reading.torch.trees import tensors_in
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

FACTORED = frozenset({"matmul", "mm", "bmm", "einsum", "multi_dot"})
INDEXED = frozenset(
    "getitem index_select gather take_along_dim index_add scatter scatter_add index_put".split()
)
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

    @property
    def single(self) -> bool:
        """Whether it was made of one parameter, by elementwise steps and rearrangements alone."""
        return self.exact or self.function is not None

    def uses(self, slot: str, layout: Callable[[tuple[int, ...]], Layout]) -> list[Use]:
        """Its use as a whole, the layout made from the shape of the parameter itself.

        Of several parameters (weight norm's direction and length), the one of the tensor's own
        shape is the weight, and so are matrices that were multiplied with each other (the two of
        LoRA); the others take part in an "other" way.
        """
        alike = [name for name in self.names if self.shapes[name] == tuple(self.tensor.shape)]
        factors = slot == "weight" and bool(FACTORED & set(self.through))
        found = []
        for name in self.names:
            shape = self.shapes[name]
            whole = self.single or self.joined or name in alike[:1]
            if whole or (factors and len(shape) == self.tensor.dim()):
                its = layout(shape) if self.kept is None else fans.kept(self.kept, layout(shape))
                how = self.neutral(slot), self.times(slot)
                found.append(Use(name, slot, its, self.through, *how))
            else:
                # g of g·v/‖v‖ (Salimans & Kingma 2016): as long as v, or one number a row of it
                slot_of = "length" if "weight_norm" in self.through else "other"
                found.append(Use(name, slot_of, fans.vector(shape)))
        return found

    def neutral(self, slot: str) -> float | None:
        """The value of the parameter at which a bias adds nothing, or a scale changes nothing."""
        goal = {"bias": 0.0, "shift": 0.0, "scale": 1.0}.get(slot)
        if goal is None or not self.through or self.function is None:
            return goal
        if (line := self._line()) is None:
            return None  # exp(w), softplus(w): what the model means by it is not known
        return (goal - line[0]) / line[1]

    def times(self, slot: str) -> float | None:
        """What a position or token is multiplied by first; None if it goes through more."""
        if slot not in ("position", "token") or not self.through:
            return 1.0
        line = self._line()
        return line[1] if line is not None and line[0] == 0 else None

    def _line(self) -> tuple[float, float] | None:
        """The function of the parameter as offset and slope; None if it is no such line."""
        if self.function is None:
            return None
        with unset_fake_temporarily():
            low, middle, high = self.function(np.array([0.0, 0.5, 1.0]))
        if high == low or not np.isclose(middle, (low + high) / 2):
            return None
        return float(low), float(high - low)

    def axes(self) -> list[tuple[int, ...]]:
        """The axes of the parameter that each axis of a view runs along, found by strides."""
        return list(axes_along(self.shapes[self.names[0]], self.tensor))


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
        numbered = self.source if self.name in BESIDE else self.value
        for tensor in tensors_in((self.args, tuple(self.kwargs.values()))):
            first = bool(self.args) and tensor is self.args[0]
            if self.name in INDEXED and not first and not tensor.is_floating_point():
                continue  # it tells which entries, and is no part of the signal
            weight = self.weight(tensor)
            if weight is not None:
                weights.append(weight)
            elif (value := numbered(tensor)) is not None:
                inputs.append(value)
        uses = [
            use
            for weight in weights
            for use in weight.uses(self._slot(weight, inputs), fans.vector)
        ]
        return Step(self.name, kind, tuple(inputs), tuple(map(self._times, uses)))

    def _times(self, use: Use) -> Use:
        """A use by a call of `add(x, y, alpha=2)`, where y is the parameter."""
        alpha = self.kwargs.get("alpha", 1)
        second = self.weight(self.get(1, "other"))
        if alpha == 1 or use.times is None or second is None or use.parameter not in second.names:
            return use
        return replace(use, times=use.times * float(alpha))

    def _slot(self, weight: Weight, inputs: list[int]) -> str:
        if not weight.single and not weight.joined:
            return "other"  # made of several parameters: what each should be is not known
        if self.name in ("mul", "div"):
            return "scale"
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
        return "position" if len(extents) > 1 else "bias"


def _extents(shape: Sequence[int]) -> list[int]:
    """The sizes of the axes along which there is more than one element."""
    return [size for size in shape if size > 1]


Reader = Callable[[Call], list[Step]]
