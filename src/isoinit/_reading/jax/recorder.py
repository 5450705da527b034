"""The operations of the graph as they are recorded, and what is known of their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from isoinit._reading import views
from isoinit._reading.graph import Array, Detail, Given, Kind, Made, Op, Part, Use
from isoinit._reading.jax import constants
from isoinit._reading.jax.held import (
    WEIGHTS,
    Composed,
    Held,
    Joined,
    Known,
    Parameter,
    Pending,
    Signal,
    Weight,
    blank,
    extents,
)
from isoinit._reading.jax.parameters import neutral_beside
from isoinit._reading.jax.played import NOT_PLAYED, Played
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

# The value at which a parameter in this slot does nothing.
NEUTRAL = {"bias": 0.0, "shift": 0.0, "scale": 1.0}
COMPOSED_SLOTS = frozenset({"weight", "table", "position", "token"})


class Recorder:
    """The operations of a graph, and its values by number.

    Args:
        shapes: the shape of every parameter.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        self.ops: list[Op] = []
        self.sizes: dict[int, tuple[int, ...]] = {}
        self.given: dict[int, Given] = {}
        self.maker: dict[int, Op] = {}
        self.notes: dict[str, str] = {}
        self.splits: dict[str, tuple[int, tuple[int, ...]]] = {}  # parameters to be read in blocks
        self.unknown: dict[str, list[str]] = {}  # primitives that nothing reads, and parameters
        self.out_axes: dict[int, tuple[Op, frozenset[int]]] = {}  # of what a layer gave, its units'
        self.joined: dict[int, tuple[int, tuple[Held, ...]]] = {}  # what stands side by side
        self.stacks: dict[int, tuple[Signal, ...]] = {}  # what stands behind each other, row by row
        self.centred: set[int] = set()  # values that a running mean was taken away from
        self.turned_from: dict[int, int] = {}  # what a value is, with its axes in another order
        self.read: set[int] = set()  # the values that an operation reads
        self.data: set[int] = set()  # what is made of the example's integers alone

    def new(self, shape: Sequence[int]) -> int:
        """Return the number of a new value."""
        number = len(self.sizes)
        self.sizes[number] = tuple(int(size) for size in shape)
        return number

    def add(
        self,
        name: str,
        kind: Kind,
        inputs: Sequence[int],
        shape: Sequence[int],
        uses: Sequence[Use] = (),
        *,
        played: Played = NOT_PLAYED,
        detail: Detail | None = None,
    ) -> int:
        """Record an operation of one output; return the number of that."""
        return self.several(name, kind, inputs, [shape], uses, played=played, detail=detail)[0]

    def several(
        self,
        name: str,
        kind: Kind,
        inputs: Sequence[int],
        shapes: Sequence[Sequence[int]],
        uses: Sequence[Use] = (),
        *,
        played: Played = NOT_PLAYED,
        detail: Detail | None = None,
    ) -> list[int]:
        """Record an operation; return the numbers of its outputs."""
        outputs = [self.new(shape) for shape in shapes]
        rank = max((len(self.sizes[value]) for value in inputs), default=1)
        op = Op(
            len(self.ops),
            name,
            kind,
            tuple(inputs),
            tuple(outputs),
            tuple(uses),
            played.replay,
            detail or Detail(),
            rank,
            played.mixed,
            played.why if kind != "move" else "",
            played.pull,
        )
        self.ops.append(op)
        if name != "permute":  # turned, a value is still the same
            self.read.update(self.turned_from.get(value, value) for value in inputs)
        self.maker.update(dict.fromkeys(outputs, op))
        if inputs and not uses and set(inputs) <= self.data:
            self.data.update(outputs)
        return outputs

    def change(self, op: Op, **fields: Any) -> Op:
        """Put an operation in the place of another, which differs in these fields."""
        new = replace(op, **fields)
        self.ops[op.index] = new
        self.maker.update(dict.fromkeys(op.outputs, new))
        return new

    def channels_last(self) -> frozenset[int]:
        """Return the inputs whose units lie along the last axis: those that no layer reads as is."""
        first = {op.inputs[0] for op in self.ops if op.name.startswith("conv") and op.inputs}
        return frozenset(value for value in self.sizes if value not in self.maker) - first

    def came_of(self, held: Held, name: str) -> bool:
        """Return whether a signal was computed with a parameter."""
        waiting = [held.number] if isinstance(held, Signal) else []
        seen: set[int] = set()
        while waiting:
            op = self.maker.get(waiting.pop())
            if op is not None and op.index not in seen:
                seen.add(op.index)
                if any(use.parameter == name for use in op.uses):
                    return True
                waiting += op.inputs
        return False

    def before_state(self, value: int) -> int:
        """Return what a value was before a running mean was taken away from it."""
        return self.maker[value].inputs[0] if value in self.centred else value

    def note(self, name: str, what: str) -> None:
        """Take down, once, what is doubtful about a primitive."""
        self.notes.setdefault(name, what)

    def source(self, held: Held) -> int | None:
        """Return the number of what a weight multiplies; a constant in that place becomes a value.

        Its values must be known, and not all zero: a state that starts at zero is no signal yet.
        """
        if not isinstance(held, Known):
            return self.number(held)
        found = constants.moments(held) if held.floats else None
        if found is None or found[1] == 0:
            return None
        number = self.new(held.shape)
        mean, second = found
        self.given[number] = Given(mean, second, mean**2, second, fixed=True)
        return number

    def turned(self, value: int, order: Sequence[int]) -> int:
        """Return a value with its axes in another order; turned back it is the value itself."""
        order = [int(axis) for axis in order]
        if order == list(range(len(order))):
            return value
        size, made = self.sizes[value], self.maker.get(value)
        source = value
        if made is not None and made.name == "permute" and made.detail.axes is not None:
            order = [made.detail.axes[axis][0] for axis in order]
            source, size = made.inputs[0], self.sizes[made.inputs[0]]
            if order == list(range(len(order))):
                return source
        axes = Detail(axes=tuple((axis,) for axis in order))
        turned = self.add("permute", "move", [source], [size[a] for a in order], detail=axes)
        self.turned_from[turned] = self.turned_from.get(source, source)
        if value in self.out_axes:
            op, units = self.out_axes[value]
            before = order if source == value else [made.detail.axes.index((a,)) for a in order]  # type: ignore[union-attr]
            self.gives(turned, op, [new for new, old in enumerate(before) if old in units])
        return turned

    def size(self, held: Held) -> tuple[int, ...]:
        """Return the shape of what is held, dropped axes with one element each."""
        if isinstance(held, Signal):
            return self.sizes[held.number]
        if isinstance(held, Pending):
            return tuple(np.broadcast_shapes(self.size(held.signal), held.scale.shape))
        return held.shape

    def number(self, held: Held) -> int:
        """Return the number of what is held, dropped axes gone: a parameter becomes a signal."""
        if isinstance(held, Pending):
            shape = self.size(held)
            uses = self.uses(held.scale, "scale")
            return self.add("mul", "other", [self.number(held.signal)], shape, uses)
        if isinstance(held, WEIGHTS):
            uses = self.uses(held, "token")
            return self.add("parameter", "lookup", [], held.shape, uses)
        if isinstance(held, Known):
            raise TypeError("a constant has no number")
        if not held.dropped:
            return held.number
        old = self.sizes[held.number]
        left = [axis for axis in range(len(old)) if axis not in held.dropped]
        axes = Detail(axes=tuple((axis,) for axis in left))
        return self.add("squeeze", "move", [held.number], [old[a] for a in left], detail=axes)

    # ------------------------------------------------------------------ parameters

    def uses(
        self, weight: Weight, slot: str, layout: Callable[[Parameter], Layout] | None = None
    ) -> list[Use]:
        """Return the uses of the parameters that something is made of.

        Args:
            weight: what is used.
            slot: as what.
            layout: what the axes of a view of a parameter mean; by default those of a vector.
        """
        if isinstance(weight, Joined):
            return [use for part in weight.parts for use in self.uses(part, slot, layout)]
        if isinstance(weight, Composed):
            return self._composed(weight, slot, layout)
        its = fans.vector(self.shapes[weight.name]) if layout is None else layout(weight)
        neutral = self._neutral(weight, slot)
        whole = self.shapes[weight.name]
        part = weight.elements < int(np.prod(whole))
        if weight.through == () and weight.exact:
            return [Use(weight.name, slot, its, (), neutral, part=part)]
        made = self._function_of(weight, its)
        return [Use(weight.name, slot, its, weight.through, neutral, made, part=part)]

    def _function_of(self, weight: Parameter, layout: Layout) -> Made | None:
        """Return how a function of one parameter's elements is made; None of picked elements."""
        function = weight.function
        if function is None:
            return None
        part = Part(weight.name, layout, "weight")
        key = ("function", weight.through, layout)
        return Made((part,), layout, lambda arrays: function(arrays[0]), "", function, key)

    def _composed(
        self, weight: Composed, slot: str, layout: Callable[[Parameter], Layout] | None
    ) -> list[Use]:
        whole = fans.vector(weight.shape)
        if layout is not None:
            stand_in = Parameter("", blank(weight.shape))
            whole = layout(stand_in)
        parts = []
        weights = [name for name, kind in weight.kinds.items() if kind == "weight"]
        for name, kind in weight.kinds.items():
            shape = self.shapes[name]
            its = fans.vector(shape)
            if kind.startswith("adapter"):
                last_is_in = bool(whole.in_) and whole.in_[-1] == len(whole.grid) - 1
                reads = (kind == "adapter right") == last_is_in
                kind, its = f"adapter {'in' if reads else 'out'}", fans.of_tensor(shape)
            elif kind == "weight" and shape == weight.shape:
                its = whole
            elif kind == "weight" and weight.factors and len(shape) == len(weight.shape) == 2:
                its = fans.linear(shape, transposed=bool(whole.in_) and whole.in_[0] == 0)
            elif kind == "weight" and len(weights) > 1 and slot not in COMPOSED_SLOTS:
                kind = "other"  # two biases: what each should be is not known
            parts.append(Part(name, its, kind))
        names, make = list(weight.kinds), weight.make

        def replay(arrays: Sequence[Array]) -> Array:
            return make(dict(zip(names, arrays, strict=True)))

        known = None if weight.reason else replay
        made = Made(tuple(parts), whole, known, weight.reason, None, weight.key)
        slots = {"scale": "scale", "shift": "shift", "other": "other"}
        found = []
        for part in parts:
            used, neutral = slots.get(part.kind, slot), None
            if part.kind in ("scale", "shift"):
                shape = self.shapes[part.parameter]
                neutral = neutral_beside(weight, part.parameter, part.kind, shape)
            use = Use(part.parameter, used, part.layout, weight.through, neutral, made)
            found.append(use)
        return found

    def _neutral(self, weight: Parameter, slot: str) -> float | None:
        """Return the value of a parameter at which a bias adds nothing, or a scale changes nothing."""
        goal = NEUTRAL.get(slot)
        if goal is None or weight.exact:
            return goal
        if weight.function is None:
            return None
        low, middle, high = weight.function(np.array([0.0, 0.5, 1.0]))
        if high == low or not np.isclose(middle, (low + high) / 2):
            return None  # exp(w), softplus(w): what the model means by it is not known
        return float((goal - low) / (high - low))

    def contraction(self, in_: Sequence[int], out: Sequence[int]) -> Callable[[Parameter], Layout]:
        """Return what makes the layout of a parameter whose view sums over `in_` and gives `out`."""

        def layout(weight: Parameter) -> Layout:
            shape = self.shapes.get(weight.name, weight.shape)
            if not weight.exact and len(shape) != len(weight.shape):
                return fans.of_tensor(shape)
            view = weight.view
            steps = [abs(step) for step in view.strides]  # a kernel may be turned round
            axes = views.axes_along(shape, view.shape, steps)
            return views.contracted(shape, view.shape, steps, axes, in_, out)

        return layout

    def gives(self, value: int, op: Op, axes: Sequence[int]) -> None:
        """Take down that a value is what a layer gave, with its units along these axes."""
        self.out_axes[value] = op, frozenset(axes)

    def take_bias(self, value: int, weight: Weight, shape: Sequence[int]) -> bool:
        """Give a layer its bias, if what it gave meets one of its units first of all.

        Args:
            value: what the layer gave, perhaps rearranged.
            weight: what is added.
            shape: of the sum.
        """
        if isinstance(weight, Joined):
            return self._take_joined(value, weight)
        if not self._takes(value, weight, shape):
            return False
        self._give(value, weight)
        return True

    def _take_joined(self, value: int, weight: Joined) -> bool:
        """Give layers side by side their biases, which stand side by side as they do."""
        along, parts = self.joined.get(value, (-1, ()))
        signals = [held.number for held in parts if isinstance(held, Signal)]
        axis = weight.axis + len(self.sizes[value]) - len(weight.shape)
        sizes = [part.shape[weight.axis] for part in weight.parts]
        if along != axis or len(signals) < len(parts) or value in self.read:
            return False
        if [self.sizes[number][axis] for number in signals] != sizes:
            return False
        pairs = list(zip(signals, weight.parts, strict=True))
        if not all(self._takes(v, part, self.sizes[v], joined=True) for v, part in pairs):
            return False
        for number, part in pairs:
            self._give(number, part)
        return True

    def _takes(
        self, value: int, weight: Weight, shape: Sequence[int], *, joined: bool = False
    ) -> bool:
        if value not in self.out_axes or self.sizes[value] != tuple(shape):
            return False
        if self.turned_from.get(value, value) in self.read and not joined:
            return False
        op, axes = self.out_axes[value]
        if any(use.slot == "bias" for use in self.ops[op.index].uses):
            return False
        along = {len(shape) + axis for axis in extents(weight)}
        return along <= axes

    def _give(self, value: int, weight: Weight) -> None:
        op = self.ops[self.out_axes[value][0].index]
        self.change(op, uses=(*op.uses, *self.uses(weight, "bias")))

    def slot_of_sum(self, weight: Weight, beside: int) -> str:
        """Return what a parameter is that is added to a signal."""
        maker = self.maker.get(beside)
        scales = [use.layout.shape for use in maker.uses if use.slot == "scale"] if maker else []
        along = extents(weight)
        sizes = [weight.shape[axis] for axis in along]
        if scales and (len(along) < 2 or sizes in [[n for n in s if n > 1] for s in scales]):
            return "shift"
        return "position" if len(along) > 1 and not self._is_vector(weight) else "bias"

    def _is_vector(self, weight: Weight) -> bool:
        """Return whether it is all of a parameter of one axis, which may be seen in groups."""
        if not isinstance(weight, Parameter) or not weight.exact:
            return False
        return self.shapes[weight.name] == (weight.elements,)
