"""Measures the moments of values whose signal cannot be worked out, in one run on the example.

The walk that chooses a plan's initializers goes ahead of the run. It stops where it needs a value that
it does not know; all parameters that come before that value are chosen and filled by then. As soon as
the run has made the value, its moments are measured, and the walk goes on from them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from isoinit._planning.calibration.forward import SEED, copied, running_with, twin
from isoinit._planning.coarse import coarse
from isoinit._planning.propagation import Measured, Walk
from isoinit._planning.propagation.moments import units_of
from isoinit._planning.rules import Choice
from isoinit._reading.graph import Given, Graph, Op
from isoinit._reading.torch import as_arguments, explained, named_parameters
from isoinit._reading.torch.moments import moments_of
from isoinit._reading.torch.names import named_buffers, named_modules
from isoinit._reading.torch.rng import seed_generators
from isoinit._reading.torch.trees import map_tensors, tensors_in
from isoinit._system.private import FakeTensor
from isoinit._writing.apply import fill_parameters
from isoinit._writing.assigning import follow
from isoinit._writing.entry import Entry
from isoinit._writing.postponed import unfilled
from isoinit.errors import TraceError

OTHERWISE = "the model did other operations in this run than when it was read"


def measure_moments(
    model: nn.Module,
    batch: Any,
    graph: Graph,
    asked: Collection[int],
    entries: Mapping[str, Entry],
    walk: Walk[Any] | None = None,
    chosen: dict[str, Choice] | None = None,
) -> Measured:
    """Run a model on an example with planned weights, and return the moments of some values.

    The run takes memory for a second copy of the parameters that it uses, and ends as soon as the
    last value was measured. It does not raise: what went wrong is told in `Measured.why`.

    Args:
        model: left as it was.
        batch: an example, as `isoinit.plan` takes it.
        graph: what the model does with it.
        asked: the values.
        entries: what each parameter is filled with.
        walk: the walk that chooses initializers anew as moments become known; None to keep `entries`.
        chosen: where that walk puts what it chooses.
    """
    parameters, _ = named_parameters(model)
    entries = _typed(entries, parameters)
    if why := _obstacle(model, parameters, entries, batch):
        return Measured(why=why)
    last = max(graph.producers[value].index for value in asked)
    later = {name for name in parameters if (u := graph.uses_of(name)) and u[0][0].index > last}
    drawn: dict[str, torch.Tensor] = {
        name: twin(p) for name, p in parameters.items() if name not in later
    }
    run = _Run(model, graph, {v: units_of(graph, v) for v in asked}, entries, drawn)
    (args, kwargs), notes = _varied(copied(as_arguments(batch)))
    try:
        run.start(walk, {} if chosen is None else chosen)
        borrowed = running_with(drawn, model, parameters, (args, kwargs), run.observe)
        with borrowed as (inner, recorder):
            seed_generators(SEED)
            recorder.run(inner, args, kwargs)
    except _Enough:
        pass
    except Exception as failure:  # the plan stands without it, and says so
        run.why = str(explained(failure, "on the example", model, batch)).partition(". Pass")[0]
    return Measured(run.found, run.why, notes, run.otherwise)


def read_with(model: nn.Module, batch: Any, entries: Mapping[str, Entry]) -> Graph | None:
    """Return the graph of a run on an example with planned weights; the model is left as it was.

    None for a model with compiled code: see `_obstacle`.

    Raises:
        TraceError: if it cannot be run with them, or fails.
    """
    parameters, _ = named_parameters(model)
    entries = _typed(entries, parameters)
    if _is_compiled(model):
        return None
    if why := _obstacle(model, parameters, entries, batch):
        raise TraceError(why)
    drawn: dict[str, torch.Tensor] = {name: twin(p) for name, p in parameters.items()}
    _fill(model, entries, drawn)
    arguments = as_arguments(batch)
    try:
        graph = _run_with(drawn, model, parameters, arguments, below=False)
        if graph.missed:
            graph = _run_with(drawn, model, parameters, arguments, below=True)
        return graph
    except Exception as failure:
        raise explained(failure, "on the example", model, batch) from failure


def _run_with(
    drawn: Mapping[str, torch.Tensor],
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    arguments: Any,
    *,
    below: bool,
) -> Graph:
    """Return the graph of one run: see `Recorder.run` for `below`."""
    args, kwargs = copied(arguments)
    with running_with(drawn, model, parameters, (args, kwargs)) as (inner, recorder):
        seed_generators(SEED)
        return recorder.graph(recorder.run(inner, args, kwargs, below=below), "real")


class _Enough(BaseException):
    """Ends a run that has shown all that was asked for; no `except Exception` of a model stops it."""


class _Run:
    """One run, and the walk that goes ahead of it.

    Args:
        model: what is run.
        graph: what it did when it was read.
        units: the axis of units of each value that is asked for.
        entries: what each parameter is filled with.
        drawn: the parameters to fill; buffers that follow from them are added.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        units: Mapping[int, int],
        entries: Mapping[str, Entry],
        drawn: dict[str, torch.Tensor],
    ) -> None:
        self.found: dict[int, Given] = {}
        self.why, self.otherwise = "", False
        self._model = model
        self._graph, self._units, self._entries, self._drawn = graph, units, entries, drawn
        self._last = max(graph.producers[value].index for value in units)
        self._walk: Walk[Any] | None = None
        self._chosen: dict[str, Choice] = {}
        self._waits_for: int | None = None

    def start(self, walk: Walk[Any] | None, chosen: dict[str, Choice]) -> None:
        """Fill all parameters, and let the walk choose those before the first value that it asks."""
        mine = {name: self._entries[name] for name in self._drawn}
        _fill(self._model, mine, self._drawn)
        self._walk, self._chosen = walk, chosen
        self._go_on(-1)

    def observe(self, op: Op, made: tuple[torch.Tensor, ...]) -> None:
        """Measure what is asked for of an operation's results, and let the walk go on from there."""
        known = self._graph.ops[op.index] if op.index < len(self._graph.ops) else None
        if known is None or (known.name, known.outputs) != (op.name, op.outputs):
            self.why, self.otherwise = OTHERWISE, True
            raise _Enough
        for value, tensor in zip(op.outputs, made, strict=True):
            if value in self._units:
                given = moments_of(tensor, self._units[value])
                if given is None:
                    self.why = f"what {op.name} gives is not finite, or no floating-point number"
                else:
                    self.found[value] = coarse(given)
        self._go_on(op.index)
        if op.index >= self._last:
            raise _Enough

    def _go_on(self, index: int) -> None:
        """Walk on for as long as the operations up to an index have made what is asked for."""
        while self._walk is not None:
            waits_for = self._waits_for
            if waits_for is not None and self._graph.producers[waits_for].index > index:
                return
            given = None if waits_for is None else self.found.get(waits_for)
            try:
                self._waits_for = self._walk.send(given).value
            except StopIteration:
                self._walk = None
            self._fill()

    def _fill(self) -> None:
        """Fill the parameters that the walk has chosen since the last time."""
        new = {
            name: replace(self._entries[name], initializer=choice.initializer)
            for name, choice in self._chosen.items()
            if name in self._drawn and choice.initializer != self._entries[name].initializer
        }
        _fill(self._model, new, self._drawn)
        self._chosen.clear()


def _typed(
    entries: Mapping[str, Entry], parameters: Mapping[str, torch.Tensor]
) -> dict[str, Entry]:
    """Return entries with the types of the parameters."""
    types = {name: str(p.dtype).removeprefix("torch.") for name, p in parameters.items()}
    return {name: replace(entry, dtype=types[name]) for name, entry in entries.items()}


def _fill(model: nn.Module, entries: Mapping[str, Entry], drawn: dict[str, torch.Tensor]) -> None:
    """Fill parameters, with what only the model knows of them and of the buffers beside."""
    filled = {name: entry for name, entry in entries.items() if entry.initializer is not None}
    followed = follow(named_modules(model), filled, SEED)
    fill_parameters(filled, {name: drawn[name] for name in filled}, SEED, followed.parameters)
    for name, buffer in followed.buffers.items():
        if name in drawn:
            drawn[name].copy_(buffer)  # the run holds it already
        else:
            drawn[name] = buffer


def _varied(arguments: Any) -> tuple[Any, tuple[str, ...]]:
    """Return arguments whose numbers vary, and what is doubtful about them.

    An example of zeros or ones tells shapes and nothing else: standard normal numbers stand in for
    its floating-point tensors, as the input counts as standardized everywhere in a plan.
    """
    several = [t for t in tensors_in(arguments) if t.layout is torch.strided and t.numel() > 1]
    numbers = [t for t in several if t.is_floating_point()]
    if not several or any(bool((t != t.flatten()[0]).any()) for t in numbers or several):
        return arguments, ()
    if not numbers:
        return arguments, (
            "all numbers of the example are equal, and the signal was measured on it",
        )
    generator = torch.Generator().manual_seed(SEED)

    def varied(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point() or tensor.numel() < 2:
            return tensor
        return torch.randn(tensor.shape, generator=generator, device="cpu").to(tensor)

    said = "the signal was measured on standard normal numbers: those of the example are all equal"
    return map_tensors(varied, arguments, opened=Mapping), (said,)


def _is_compiled(model: nn.Module) -> bool:
    """Return whether some of a model is a script, which keeps its own parameters."""
    return any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())


def _obstacle(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    entries: Mapping[str, Entry],
    batch: Any,
) -> str:
    """Return why a model cannot be run with other parameters here; "" where it can."""
    tensors = {**parameters, **named_buffers(model)[0]}
    if any(t.is_meta or isinstance(t, FakeTensor) for t in tensors.values()):
        return "the model holds no values: it is on the meta device"
    if any(t.is_meta or isinstance(t, FakeTensor) for t in tensors_in(as_arguments(batch))):
        return "the example holds no values"
    if _is_compiled(model):
        return "a part of the model is compiled, and runs with the values that it holds"
    flat = any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules())
    if flat or any(hasattr(t, "device_mesh") for t in tensors.values()):
        return "the model is sharded"
    kept = {n: p for n, p in parameters.items() if entries[n].initializer is None}
    if names := unfilled(kept):
        return f"{names[0]!r}, which the plan leaves as it was, holds no values yet"
    return ""
