"""Records each torch call of a forward pass as an operation of a graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from isoinit._reading.graph import SUMS, Detail, Given, Graph, Kind, Op, Use
from isoinit._reading.torch.calls import (
    GATHERS,
    MOVES,
    SHAPE_ONLY,
    function_name,
    is_float,
    written_by,
)
from isoinit._reading.torch.details import BESIDE, Constant, constant, detail
from isoinit._reading.torch.fakes import fake_grouped_mm, refuse_mixed_types
from isoinit._reading.torch.moments import moments_of
from isoinit._reading.torch.readers.call import Call, Weight
from isoinit._reading.torch.readers.table import READERS
from isoinit._reading.torch.replay import Recorded, Replayed, composed, replay_of
from isoinit._reading.torch.trees import tensors_in
from isoinit.errors import TraceError
from isoinit.initializers.scale import fans

Observer = Callable[[Op, tuple[torch.Tensor, ...]], None]

NO_DETAIL = Detail()
# A loop that waits for data to converge may never end on an example, and fake tensors have none. A
# transformer of 1,000 layers makes about 70,000 calls.
MOST_CALLS = 300_000

T = TypeVar("T")


class _Known(Generic[T]):
    """What is known of tensors, by identity.

    None of them is kept alive: a run under the recorder takes no more memory than it would without.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[weakref.ref[torch.Tensor], T]] = {}

    def __setitem__(self, tensor: torch.Tensor, what: T) -> None:
        self._held[id(tensor)] = (weakref.ref(tensor), what)

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return self.get(tensor) is not None

    def get(self, tensor: torch.Tensor) -> T | None:
        """What is known of a tensor: this very one, and none that was at its place before."""
        known = self._held.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None


class Recorder(TorchFunctionMode):
    """Records what runs inside its `with` block.

    Args:
        shapes: the shape of each parameter, by name.
        aliases: the other names of tied parameters, and the name that each goes by.
        observe: called with each operation and the tensors it made, as they are made.
        before_write: called with each tensor that a call is about to write into.
    """

    def __init__(
        self,
        shapes: dict[str, tuple[int, ...]],
        aliases: dict[str, str],
        observe: Observer | None = None,
        before_write: Callable[[torch.Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self.call = Recorded(None, (), {})  # the last one that is an operation
        self._shapes, self._aliases, self._observe = shapes, aliases, observe
        self._before_write = before_write
        self._count = self._calls = 0
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._values: _Known[int] = _Known()
        self._weights: _Known[Weight] = _Known()
        self._constants: _Known[Constant] = _Known()
        self._given: dict[int, Given] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        self._calls += 1
        if self._calls > MOST_CALLS:
            raise TraceError(
                f"it made more than {MOST_CALLS:,} torch calls: a loop that does not end, or one "
                "that ends only for other data; pass an example on which it ends soon"
            )
        refuse_mixed_types(name, args, kwargs)
        if self._before_write is not None:
            for tensor in written_by(func, args, kwargs):
                self._before_write(tensor)
        if name == "grouped_mm" and args and isinstance(args[0], FakeTensor):
            result = fake_grouped_mm(func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if name not in SHAPE_ONLY:
            made = [args[0]] if name == "setitem" else list(tensors_in(result))
            if made:
                self._note(func, name, args, kwargs, made)
        return result

    def mark_parameter(self, tensor: torch.Tensor, name: str) -> None:
        """Say that the forward will meet this tensor as the parameter of this name."""
        self._weights[tensor] = Weight(tensor, (name,), self._shapes, exact=True)

    def mark_value(self, tensor: torch.Tensor, value: int | None = None) -> None:
        """Say that a tensor is part of the example, or holds the value of that number."""
        if value is None:
            self._new_value(tensor)
        else:
            self._values[tensor] = value

    def mark_constant(self, tensor: torch.Tensor, real: torch.Tensor) -> None:
        """Say that a tensor is a buffer, or stands for this real one."""
        self._constants[tensor] = Constant(real)

    def mark_given(self, tensor: torch.Tensor, given: Given | None) -> None:
        """Say that a tensor is part of the example, of these moments where they are known."""
        value = self._new_value(tensor)
        if given is not None:
            self._given[value] = given

    def run(self, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run the model on an example, recording; returns what the model returns."""
        for tensor in tensors_in((args, kwargs)):
            if self.value(tensor) is None:
                self.mark_given(tensor, moments_of(tensor))
        with self:
            return model(*args, **kwargs)

    def graph(self, result: Any, how: str) -> Graph:
        """Everything recorded, as a graph whose outputs are the tensors in `result`."""
        outputs = [self.value(tensor) for tensor in tensors_in(result)]
        found = tuple(value for value in outputs if value is not None)
        return Graph(
            tuple(self.ops), self._sizes, self._shapes, found, how, self._aliases, self._given
        )

    def _note(
        self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], made: list[Any]
    ) -> None:
        tensors = list(tensors_in((args, kwargs)))
        values = [value for t in tensors if (value := self.value(t)) is not None]
        weights = [weight for t in tensors if (weight := self._weight(t)) is not None]
        moved = name in MOVES
        if not values and not weights:
            before = [known for t in tensors if (known := self._constant(t)) is not None]
            for tensor in made:
                self._constants[tensor] = constant(name, args, tensor, before, moved=moved)
            return
        replay = None
        call = Call(name, args, kwargs, self._weight, self._value_of, self._producer)
        if name in READERS and (steps := READERS[name](call)):
            for step in steps[:-1]:  # a composite, such as attention with its projections
                self._add(step.name, step.kind, step.inputs, [self._number()], step.uses, None)
            last = steps[-1]
            inputs = last.inputs if len(steps) == 1 else self.ops[-1].outputs
        elif not values or (name in GATHERS and self._weight(call.get(0, "input"))):
            self._derive(func, name, args, kwargs, weights, made)
            return
        else:
            last = call.generic("move" if moved else "other")
            inputs = last.inputs
            if not weights and last.kind != "move":
                replay = replay_of(Recorded(func, args, kwargs), self.value)
        outputs = [self._new_value(tensor) for tensor in made]
        told = detail(func, name, args, kwargs, made, moved=moved, known=self._constant)
        op = self._add(last.name, last.kind, inputs, outputs, last.uses, replay, told)
        if self._observe is not None:
            self.call = Recorded(func, args, kwargs)
            self._observe(op, tuple(made))

    def _add(
        self,
        name: str,
        kind: Kind,
        inputs: Sequence[int],
        outputs: Sequence[int],
        uses: Sequence[Use],
        replay: Replayed | None,
        told: Detail = NO_DETAIL,
    ) -> Op:
        values, pull = (tuple(inputs), tuple(outputs)), replay.pull if replay else None
        op = Op(len(self.ops), name, kind, *values, tuple(uses), replay, told, pull)
        self.ops.append(op)
        return op

    def _derive(
        self,
        func: Any,
        name: str,
        args: Sequence[Any],
        kwargs: Any,
        weights: list[Weight],
        made: Any,
    ) -> None:
        """A tensor made of parameters alone: a view of one, or a function of some."""
        first = weights[0]
        if name == "scatter_kept":  # by `isoinit.sparse`: what a weight keeps, and its zeros
            for tensor in made:
                shapes = {**self._shapes, first.names[0]: tuple(tensor.shape)}
                stored = tuple(first.tensor.shape)
                self._weights[tensor] = Weight(tensor, first.names, shapes, exact=True, kept=stored)
            return
        names = tuple(dict.fromkeys(name for weight in weights for name in weight.names))
        moved = len(weights) == 1 and (name in MOVES or _adds_mask(name, args, first.tensor))
        exact = moved and first.exact
        beside = name in BESIDE and all(weight.exact or weight.joined for weight in weights)
        joined = beside or (moved and first.joined)
        through = tuple(dict.fromkeys(step for weight in weights for step in weight.through))
        function = first.function
        if not moved and not beside:
            call = Recorded(func, args, kwargs)
            replay = replay_of(call, lambda tensor: 0 if self._weight(tensor) else None)
            alike = first.single and all(weight.tensor is first.tensor for weight in weights)
            function = composed(first.function, replay) if alike else None
            through = (*through, name)
        alone = len(weights) == 1
        shapes, kept = (first.shapes, first.kept) if alone else (self._shapes, None)
        for tensor in made:
            self._weights[tensor] = Weight(
                tensor, names, shapes, exact, joined, through, function, kept
            )

    def _number(self) -> int:
        self._count += 1
        return self._count - 1

    def _new_value(self, tensor: torch.Tensor) -> int:
        value = self._number()
        self._values[tensor] = value
        self._sizes[value] = tuple(tensor.shape)
        return value

    def value(self, tensor: Any) -> int | None:
        """The number of the value that a tensor holds; None for constants and parameters."""
        return self._values.get(tensor) if isinstance(tensor, torch.Tensor) else None

    def names(self, tensor: torch.Tensor) -> tuple[str, ...]:
        """The parameters that a tensor is, or was made of without the signal; empty for others."""
        weight = self._weight(tensor)
        return weight.names if weight else ()

    def _constant(self, tensor: Any) -> Constant | None:
        if not isinstance(tensor, torch.Tensor) or tensor in self._values:
            return None
        if tensor in self._weights:
            return None
        return self._constants.get(tensor) or Constant(tensor)

    def _weight(self, tensor: Any) -> Weight | None:
        if not isinstance(tensor, torch.Tensor) or tensor in self._values:
            return None
        return self._weights.get(tensor)

    def _value_of(self, tensor: Any) -> int | None:
        """The number of a tensor; a parameter that is used as a signal becomes a value."""
        weight = self._weight(tensor)
        if weight is None:
            return self.value(tensor)
        uses = [Use(n, "token", fans.vector(self._shapes[n])) for n in weight.names]
        value = self._new_value(tensor)
        self._add("parameter", "lookup", [], [value], uses, None)
        return value

    def _producer(self, value: int) -> Op | None:
        return next((op for op in reversed(self.ops) if value in op.outputs), None)


def _adds_mask(name: str, args: Sequence[Any], weight: torch.Tensor) -> bool:
    """Whether a constant tensor is added: a table of attention biases stays one under a mask."""
    others = [a for a in args if a is not weight]
    return name in SUMS and len(others) == 1 and is_float(others[0]) and others[0].numel() > 1
