"""What one forward makes: the output of every layer, attention's scores, and what is returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from isoinit._reading.graph import LAYERS, Graph, Op, Use
from isoinit._reading.torch import as_arguments, explained, recording
from isoinit._reading.torch.numbers import in_reals
from isoinit._reading.torch.record import Recorder
from isoinit._reading.torch.trees import tensors_in
from isoinit._verifying.coordinates.scores import scores_of
from isoinit._verifying.sharded import whole


@dataclass(frozen=True)
class Output:
    """One thing that a forward makes.

    Attributes:
        name: the weight's name without a final ".weight"; "h.0.attn scores"; or "output".
        part: "layer", "scores" or "output".
        parameter: the weight, where it makes this as at its first use; "" for anything else, such as
            a table that is a readout, too.
        terms: how many add up in one number of it: the fan-in; 0 where no weight makes it.
        tensor: its values.
    """

    name: str
    part: str
    parameter: str
    terms: float
    tensor: torch.Tensor = field(repr=False)

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return self.tensor.numel()


@dataclass
class _Seen:
    """What an operation made that is to be measured, before it has a name."""

    part: str
    values: tuple[int, ...]
    use: Use | None
    tensor: torch.Tensor


def read_outputs(model: nn.Module, batch: Any) -> dict[str, Output]:
    """Run a model on a batch, and return what it makes by name, in the order of execution.

    Layers are told by the parameters that operations use, so that those without a module of their own
    are among them. A layer that a model returns is what the model returns: with what the forward
    multiplies it by.

    Args:
        model: left as it was: parameters, buffers, mode and hooks.
        batch: an example, as `isoinit._reading.torch.as_arguments` takes it.

    Raises:
        TraceError: if the forward fails.
    """
    args, kwargs = as_arguments(batch)
    watcher = _Watcher()
    borrowed = recording(model, observe=watcher.watch, batch=(args, kwargs))
    with borrowed as (inner, recorder), torch.no_grad():
        watcher.recorder = recorder
        try:
            result = recorder.run(inner, args, kwargs)
        except Exception as failure:
            raise explained(failure, "on the batch", model, batch) from failure
        graph = recorder.graph(result, "real")
        returned = [
            (recorder.known.value(t), _kept(t)) for t in tensors_in(result) if _is_measured(t)
        ]
    found = [*_with_returned(graph, watcher.seen, returned)]
    return {output.name: output for output in _named(graph, found)}


class _Watcher:
    """Keeps what layers make, as they make it: it may be written over later."""

    def __init__(self) -> None:
        self.seen: list[_Seen] = []
        self.recorder: Recorder | None = None

    def watch(self, op: Op, made: tuple[torch.Tensor, ...]) -> None:
        """Keep the output of a layer, and the scores of an attention."""
        assert self.recorder is not None
        if not _is_measured(made[0]):
            return
        scores = scores_of(op, self.recorder.ops, self.recorder.call)
        if scores is not None:
            self.seen.append(_Seen("scores", scores.sides, None, _kept(scores.tensor)))
        use = _weight_of(op)
        if use is not None:
            self.seen.append(_Seen("layer", op.outputs[:1], use, _kept(made[0])))


def _weight_of(op: Op) -> Use | None:
    """The use of a layer's weight; None for what is no layer."""
    if op.kind not in LAYERS:
        return None
    return next((use for use in op.uses if "weight" in use.slot or use.slot == "table"), None)


def _is_measured(tensor: torch.Tensor) -> bool:
    """Whether it is a signal: numbers, and more than a loss."""
    return (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel() > 1


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, which nothing writes over."""
    return in_reals(whole(tensor.detach())).clone()


def _with_returned(
    graph: Graph, seen: list[_Seen], returned: list[tuple[int | None, torch.Tensor]]
) -> Iterator[_Seen]:
    """Yield what was seen, and behind it what is returned; that of a layer is put in its place."""
    trunks = {graph.trunk(v): tensor for v, tensor in returned if v is not None}
    layers = {value for each in seen if each.part == "layer" for value in each.values}
    for each in seen:
        if each.part == "layer" and each.values[0] in trunks:
            each.tensor = trunks[each.values[0]]
        yield each
    for value, tensor in returned:
        read_on = value is not None and graph.consumers.get(value)
        if value is not None and graph.trunk(value) not in layers and not read_on:
            yield _Seen("output", (value,), None, tensor)


def _named(graph: Graph, seen: list[_Seen]) -> Iterator[Output]:
    """Yield what was seen by names of its own: that of a second use of a weight says so."""
    count = Counter[str]()
    slots: dict[str, str] = {}
    for each in seen:
        name, parameter, terms = "output", "", 0.0
        if each.use is not None:
            name = each.use.parameter.removesuffix(".weight") or each.use.parameter
            terms = 0.0 if each.use.slot == "table" else each.use.whole.fan_in
            if slots.setdefault(each.use.parameter, each.use.slot) == each.use.slot:
                parameter = each.use.parameter
        elif each.part == "scores":
            behind = {_layer_behind(graph, value) for value in each.values}
            name = f"{_common(sorted(behind))} scores".strip()
        count[name] += 1
        if count[name] > 1:
            name = f"{name}, use {count[name]}" if each.use else f"{name} {count[name]}"
        yield Output(name, each.part, parameter, terms, each.tensor)


def _layer_behind(graph: Graph, value: int) -> str:
    """The nearest layer that a value is made by, such as `h.0.attn.c_attn`; "" where there is none."""
    waiting = {value}
    while waiting:
        waiting.remove(last := max(waiting))
        op = graph.producers.get(last)
        use = None if op is None else _weight_of(op)
        if use is not None:
            return use.parameter.rpartition(".")[0]
        waiting.update(() if op is None else op.inputs)
    return ""


def _common(names: Sequence[str]) -> str:
    """What names begin with: the module that holds all, or the one name."""
    parts = zip(*(name.split(".") for name in names), strict=False)
    return ".".join(same[0] for same in takewhile(lambda same: len(set(same)) == 1, parts))
