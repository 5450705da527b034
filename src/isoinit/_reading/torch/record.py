"""Records each torch call of a forward pass as an operation of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from isoinit._reading.generated import with_modulated
from isoinit._reading.graph import Chart, Detail, Given, Graph, Kind, Length, Op, Use
from isoinit._reading.slopes import with_slopes
from isoinit._reading.torch.calls import (
    GATHERS,
    LIKE,
    MOVES,
    SHAPE_ONLY,
    brings_in,
    function_name,
    is_float,
    rearranges,
    selects_by_mask,
    written_by,
)
from isoinit._reading.torch.composites import in_steps
from isoinit._reading.torch.constants import Constant, constant, goes_by_signal
from isoinit._reading.torch.contractions import Contractions
from isoinit._reading.torch.derived import Known, derived, normed_by_length, parameter, stood_for
from isoinit._reading.torch.details import detail
from isoinit._reading.torch.dispatched import Dispatched, Told, in_words
from isoinit._reading.torch.fakes import refuse_endless
from isoinit._reading.torch.forms import Forms, Signature, signature
from isoinit._reading.torch.made import AFFINE
from isoinit._reading.torch.moments import moments_of
from isoinit._reading.torch.readers.call import Call, Weight
from isoinit._reading.torch.readers.table import READERS
from isoinit._reading.torch.repeats import Met, Repeats
from isoinit._reading.torch.replay import Played, Recorded, replay_of
from isoinit._reading.torch.tensors import Tensors
from isoinit._reading.torch.trees import drawn_out, tensors_in
from isoinit._reading.torch.undecided import PRODUCTS, Undecided
from isoinit._reading.torch.writes import Sharers
from isoinit._system.private import FakeTensor
from isoinit._system.signals import call_user, check_signals
from isoinit.initializers.scale import fans

Observer = Callable[[Op, tuple[torch.Tensor, ...]], None]
# The signals that a call reads, and what is made of parameters.
Read = tuple[list[int], Sequence[Weight]]

NO_DETAIL, NO_REPLAY = Detail(), Played(None)


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
        self.stated: dict[str, Any] = {}  # further fields of `Graph`
        self._shapes, self._aliases, self._observe = shapes, aliases, observe
        self._before_write = before_write
        self._missed = self._fake = self._below = False
        self._calls = self._depth = 0
        self.known, self._forms, self._repeats = Tensors(), Forms(), Repeats()
        self._sharers, self._undecided = Sharers(), Undecided()
        self._given, self._contractions = dict[int, Given](), Contractions()
        self._data: set[int] = set()  # what is made of the example's masks and tokens alone
        self._lengths, self._charts = dict[str, Length](), dict[str, Chart]()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        self._calls += 1
        refuse_endless(self._calls)
        if (steps := in_steps(func, name, args, kwargs, self.known.weight)) is not None:
            return steps(lambda f, *a, **k: self.__torch_function__(f, (), a, k))
        written = list(written_by(func, args, kwargs))
        if self._before_write is not None:
            for tensor in written:
                self._before_write(tensor)
        self._depth += 1
        try:
            signed = None if written or self._below else signature(func, args, kwargs)
            result = self._forms.made(func, name, args, kwargs, signed)
            self._made(func, in_words(func, name, args, kwargs), result, signed)
            for tensor in written:
                self._write_through(tensor)
        finally:
            self._depth -= 1
        return result

    def _made(self, func: Any, call: Told, result: Any, signed: Signature | None = None) -> None:
        """Record a call and what it made."""
        made = [call.args[0]] if call.name == "setitem" else list(tensors_in(result))
        if not made:
            return
        check_signals()  # not where grad mode or the like is switched: it would stay so
        if call.name in SHAPE_ONLY:
            self._note_constants(func, *call, made)
            return
        signed = None if self._undecided.any else signed
        met = signed and self._repeats.met(call.name, signed, self.known.met, self._data)
        if met is None:
            self._note(func, *call, made)
        elif met.of_constants:
            self._note_same(met, func, call, made)
        else:
            self._note_again(met, func, call, made)

    def _note_again(self, met: Met, func: Any, call: Told, made: list[torch.Tensor]) -> None:
        """Record a call of the signal, by one of the same signature where there was one."""
        at, count = len(self.ops), self.known.count
        op = self._repeats.operation(met, at, range(count, count + len(made)))
        if op is None:
            self._note(func, *call, made)
            if (len(self.ops), self.known.count) == (at + 1, count + len(made)):
                self._repeats.remember(met, self.ops[-1])
            return
        self.ops.append(op)
        for tensor in made:
            self.known.new(tensor)
        values = [value for value in met.values[: 1 if call.name in LIKE else None] if value >= 0]
        self._recorded(op, Recorded(func, call.args, call.kwargs), made, (values, met.weights))

    def _note_same(self, met: Met, func: Any, call: Told, made: list[torch.Tensor]) -> None:
        """Record a call of constants; the same one gives the same."""
        if (known := self._repeats.constants(met)) is None:
            self._note(func, *call, made)
            self._repeats.remember_constants(met, [self.known.constants.get(t) for t in made])
        for tensor, same in zip(made, known or (), strict=known is not None):
            self.known.constants[tensor] = same
            self._sharers.note(tensor, call.args[0] if call.args else None)

    def mark_parameter(self, tensor: torch.Tensor, name: str) -> None:
        """Say that the forward will meet this tensor as the parameter of this name, tied or not."""
        name = self._aliases.get(name, name)
        self.known.weights[tensor] = parameter(tensor, name, self._shapes)

    def mark_chart(self, tensor: torch.Tensor, chart: Chart) -> None:
        """Say that a tensor is a weight that its carrier stands for."""
        self._charts[chart.carrier] = chart
        self._mark_weight(tensor, chart.carrier)

    def mark_value(self, tensor: torch.Tensor, value: int | None = None) -> None:
        """Say that a tensor is part of the example, or holds the value of that number."""
        self.known.values[tensor] = self.known.new(tensor) if value is None else value

    def mark_constant(self, tensor: torch.Tensor, real: torch.Tensor) -> None:
        """Say that a tensor is a buffer, or stands for this real one."""
        self.known.constants[tensor] = Constant(real)

    def mark_given(self, tensor: torch.Tensor, given: Given | None) -> None:
        """Say that a tensor is part of the example, of these moments where they are known."""
        value = self.known.new(tensor)
        if given is not None:
            self._given[value] = given
        if not (tensor.is_floating_point() or tensor.is_complex()):
            self._data.add(value)

    def run(
        self,
        model: nn.Module,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        below: bool = False,
    ) -> Any:
        """Run the model on an example, recording; returns what the model returns.

        Args:
            model: the model.
            args: its positional arguments.
            kwargs: its other arguments.
            below: whether to record what compiled functions do, too.
        """
        for tensor in tensors_in((args, kwargs)):
            self._fake = isinstance(tensor, FakeTensor)
            if self.known.value(tensor) is None:
                self.mark_given(tensor, moments_of(tensor))
        self._below = below
        deeper = Dispatched(self._made, lambda: self._depth > 0) if below else nullcontext()
        with self, deeper:
            return drawn_out(call_user(model, *args, **kwargs))

    def graph(self, result: Any, how: str) -> Graph:
        """Everything recorded, as a graph whose outputs are the tensors in `result`."""
        tensors = list(tensors_in(result))
        self.stated["returned"] = frozenset(name for t in tensors for name in self.known.names(t))
        self._as_signals(tensors)
        for tensor in tensors:
            self._miss(tensor)
        found = tuple(v for t in tensors if (v := self.known.value(t)) is not None)
        facts = self.known.sizes, self._shapes, found, how, self._aliases, self._given, self._missed
        ops = self._contractions.as_maps(self.ops)
        graph = Graph(ops, *facts, self._lengths, self._charts, **self.stated)
        return with_slopes(with_modulated(graph, self._contractions.scales()))

    def _note(
        self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], made: list[Any]
    ) -> None:
        tensors = list(tensors_in((args[:1], {}) if name in LIKE else (args, kwargs)))
        values = [value for t in tensors if (value := self.known.value(t)) is not None]
        weights = [weight for t in tensors if (weight := self.known.weight(t)) is not None]
        if len(values) + len(weights) < len(tensors):
            for tensor in tensors:
                self._miss(tensor)
        if not values and not weights:
            self._note_constants(func, name, args, kwargs, made)
            return
        if not values and self._undecided.begins(name, tensors, weights, made, self.known.constant):
            self._derive(name, Recorded(func, args, kwargs), weights, made)
            self._undecided.add(made[0], func, Told(name, args, kwargs))
            return
        if not (values and name in PRODUCTS) and self._as_signals(tensors):
            self._note(func, name, args, kwargs, made)
        else:
            self._note_op(Told(name, args, kwargs), func, made, (values, weights))

    def _note_op(self, told: Told, func: Any, made: list[Any], read: Read) -> None:
        (name, args, kwargs), (values, weights) = told, read
        recorded = Recorded(func, args, kwargs)
        if selects_by_mask(name, args) and self.known.value(args[0]) is not None:
            name = "masked_select"
        by_signal = goes_by_signal(
            name, args, kwargs, self.known.constant, self.known.value, self._data
        )
        moved = rearranges(name, args, made[0], by_signal=by_signal)
        played = NO_REPLAY
        call = Call(
            name, args, kwargs, self.known.weight, self._value_of, self._producer, self._source_of
        )
        reader = READERS.get(name) if values or name not in (*AFFINE, "prelu") else None
        if reader is not None and (steps := reader(call)):
            for step in steps[:-1]:  # a composite, such as attention with its projections
                self._add(step.name, step.kind, step.inputs, [self.known.number()], step.uses)
            last = steps[-1]
            inputs = last.inputs if len(steps) == 1 else self.ops[-1].outputs
        elif not values or (name in GATHERS and self.known.weight(call.get(0, "input"))):
            self._derive(name, recorded, weights, made)
            return
        else:
            last = call.generic("move" if moved else "other")
            inputs = last.inputs
            if not weights and last.kind != "move":
                played = replay_of(recorded, self.known.value, self.known.constant, made, inputs)
        if last.uses and all(use.slot == "slope" for use in last.uses):
            played = replay_of(recorded, self.known.value, self.known.at_start, made, inputs)
        outputs = [self.known.new(tensor) for tensor in made]
        known = detail(func, name, args, kwargs, made, moved=moved, known=self.known.constant)
        op = self._add(last.name, last.kind, inputs, outputs, last.uses, played, known)
        self._recorded(op, recorded, made, read)

    def _recorded(self, op: Op, call: Recorded, made: list[Any], read: Read) -> None:
        """Take down what follows from an operation of a call."""
        values, weights = read
        for tensor in made if op.kind == "move" else ():
            self._sharers.note(tensor, call.args[0] if call.args else None)
        if not weights and self._data.issuperset(values):
            self._data.update(op.outputs)
        self._contractions.note(op, weights, self.known.sizes, self._producer)
        if self._observe is not None:
            self.call = call
            self._observe(op, tuple(made))

    def _as_signals(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Take what may be a weight or a signal for a signal; return whether any of them is such."""
        taken = self._undecided.as_signals(tensors)
        for function, told, tensor in taken:
            self.known.weights.forget(tensor)
            self._note(function, *told, [tensor])
        return bool(taken)

    def _add(
        self,
        name: str,
        kind: Kind,
        inputs: Sequence[int],
        outputs: Sequence[int],
        uses: Sequence[Use],
        played: Played = NO_REPLAY,
        told: Detail = NO_DETAIL,
    ) -> Op:
        replay, mixed, unplayed, rank, pull, chance, single = played
        facts = replay, told, rank, mixed, unplayed, pull, chance, single
        at = len(self.ops)
        op = Op(at, name, kind, tuple(inputs), tuple(outputs), tuple(uses), *facts)
        self.ops.append(op)
        return op

    def _note_constants(
        self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], made: list[Any]
    ) -> None:
        """Constants that a call made, of other constants or of nothing but shapes."""
        call = (func, args, kwargs)
        given = tensors_in((args, kwargs))
        hidden = self._below and not self._fake
        foreign = hidden and any(self.known.met(tensor) is None for tensor in given)
        if foreign or brings_in(args, kwargs):
            return  # where it comes from is not shown: it may be made of the signal
        for tensor in made:
            known = constant(call, name, tensor, self.known.constant, moved=name in MOVES)
            if known is None:
                self.known.constants.forget(tensor)
            else:
                self.known.constants[tensor] = known
            self._sharers.note(tensor, args[0] if args else None)

    def _write_through(self, tensor: torch.Tensor) -> None:
        """Give what was written into a tensor to those that share its memory."""
        value = self.known.value(tensor)
        for other in self._sharers.of(tensor):
            before = self.known.value(other)
            if self.known.weight(other) is not None:
                continue
            if value is None:
                self.known.constants.forget(other)
                continue
            if other.numel() <= tensor.numel():
                name = "view" if other.numel() == tensor.numel() else "getitem"
                op = self._add(name, "move", [value], [self.known.new(other)], ())
            else:
                inputs = [value] if before is None else [before, value]
                lost = Played(None, reason="has a part that was written in place")
                op = self._add("written", "other", inputs, [self.known.new(other)], (), lost)
            if self._observe is not None:
                self._observe(op, (other,))

    def _derive(
        self, name: str, call: Recorded, weights: Sequence[Weight], made: Sequence[torch.Tensor]
    ) -> None:
        """A tensor made of parameters alone."""
        normed = normed_by_length(call, self.known.weight) if name == "weight_norm" else None
        if normed is not None and self._lengths.setdefault(normed[0], normed[1]) == normed[1]:
            self._mark_weight(made[0], normed[1].of)
            return
        known = Known(self.known.weight, self.known.constant, self._shapes)
        for weight in derived(name, call, weights, made, known):
            self.known.weights[weight.tensor] = weight

    def _mark_weight(self, tensor: torch.Tensor, name: str) -> None:
        """Say that a tensor is the weight that this parameter stands for, of whatever shape."""
        self.known.weights[tensor] = stood_for(tensor, name, self._shapes)

    def _miss(self, tensor: torch.Tensor) -> None:
        """Take down that a tensor was made by code that Python shows nothing of, such as a script.

        Among fake tensors, real ones are but attributes that are no buffers. Among real tensors these
        look the same; a run that sees the level below has nothing more to find there.
        """
        whole = self._below and not self._fake
        if not (self._missed or whole) and isinstance(tensor, FakeTensor) == self._fake:
            self._missed = self.known.met(tensor) is None

    def _value_of(self, tensor: Any) -> int | None:
        """The number of a tensor; a parameter that is used as a signal becomes a value."""
        self._as_signals(tensors_in(tensor))
        weight = self.known.weight(tensor)
        if weight is None:
            return self.known.value(tensor)
        uses = weight.uses("token", fans.vector)
        value = self.known.new(tensor)
        self._add("parameter", "lookup", [], [value], uses)
        return value

    def _source_of(self, tensor: Any) -> int | None:
        """The number of a tensor; a constant in the place of a signal becomes one.

        Its values must be known, and not all zero: a state that starts at zero is no signal yet.
        """
        value = self._value_of(tensor)
        held = self.known.constants.get(tensor) if value is None and is_float(tensor) else None
        mean, second = (held and held.moments) or (0.0, 0.0)
        if second == 0:
            return value
        value = self.known.new(tensor)
        self._given[value] = Given(mean, second, mean**2, second, fixed=True)
        return value

    def _producer(self, value: int) -> Op | None:
        return next((op for op in reversed(self.ops) if value in op.outputs), None)
