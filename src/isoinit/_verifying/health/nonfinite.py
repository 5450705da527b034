"""Finds the operation that first made a NaN or an infinity, forward or backward."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoinit._reading.graph import Graph, Op
from isoinit._reading.torch import as_arguments
from isoinit._reading.torch.numbers import is_finite, stored
from isoinit._reading.torch.record import Recorder
from isoinit._reading.torch.run import OURS
from isoinit._reading.torch.trees import tensors_in
from isoinit._verifying.health.passes import run_passes
from isoinit._verifying.losses import Loss

# Minus infinity is what they are given of what is masked; what they make of it is finite.
NORMALIZING = frozenset("softmax log_softmax logsumexp scaled_dot_product_attention".split())


@dataclass(frozen=True)
class Trouble:
    """What first was not finite.

    Attributes:
        what: "NaN" or "infinity".
        op: the operation that made it, by torch's name.
        backward: whether it was made on the way back: the operation's derivative, not its value.
        near: the layer that the operation is, or the last one before it; empty before the first.
        line: the line of the model's code that called it; empty where that is not known.
        parameters: the parameters that the operation uses.
    """

    what: str
    op: str
    backward: bool
    near: str
    line: str
    parameters: tuple[str, ...]


@dataclass
class _Bad:
    """Which values are not finite, and which gradients; where each operation was called."""

    nan: set[int]
    infinite: set[int]
    lines: dict[int, str]
    back: set[int]
    came: set[int]
    given: str


def find_trouble(
    model: nn.Module, parameters: dict[str, nn.Parameter], batch: Any, loss: Loss | None
) -> Trouble | None:
    """Run the passes again and look at every value; None if all that matters is finite."""
    given = [n for t in tensors_in(as_arguments(batch)) if (n := stored(t)) is not None]
    nan = "NaN" * any(bool(t.isnan().any()) for t in given)
    infinite = "infinity" * any(bool(t.isinf().any()) for t in given)
    bad = _Bad(set(), set(), {}, set(), set(), nan or infinite)

    def watch(op: Op, made: tuple[torch.Tensor, ...], _recorder: Recorder) -> None:
        bad.lines[op.index] = _line()
        for value, tensor in zip(op.outputs[-len(made) :], made, strict=False):
            _look(value, tensor, bad)

    passes = run_passes(model, parameters, batch, loss, watch, lambda *_: None)
    return _forward(passes.graph, bad) or _backward(passes.graph, bad)


def _look(value: int, tensor: torch.Tensor, bad: _Bad) -> None:
    if (numbers := stored(tensor)) is None:
        return
    if bool(numbers.isnan().any()):
        bad.nan.add(value)
    if bool(numbers.isinf().any()):
        bad.infinite.add(value)
    if tensor.requires_grad:

        def returned(gradient: torch.Tensor | None) -> None:
            if gradient is None:  # of an operation that has no derivative
                return
            bad.came.add(value)
            if not is_finite(gradient):
                bad.back.add(value)

        tensor.register_hook(returned)


def _forward(graph: Graph, bad: _Bad) -> Trouble | None:
    """Back from what comes out at the end, or of a layer, along what is not finite to its start.

    So an infinity that a mask puts in and a softmax takes out again is no trouble.
    """
    layers = [op for op in graph.ops if op.kind == "map" and op.outputs]
    ends = [*(op.outputs[0] for op in layers), *graph.outputs]
    for what, values in (("NaN", bad.nan), ("infinity", bad.infinite)):
        value = next((v for v in ends if v in values), None)
        while value is not None:
            op = graph.producers[value]
            value = next((v for v in op.inputs if v in values), None)
            if value is None and values is bad.nan and op.name not in NORMALIZING:
                value = next((v for v in op.inputs if v in bad.infinite), None)
                if value is not None:
                    what, values = "infinity", bad.infinite
            if value is None and bad.given and any(v not in graph.producers for v in op.inputs):
                return Trouble(bad.given, "the batch", False, "", "", ())
            if value is None:
                return _trouble(graph, op, what, bad, backward=False)
    return None


def _backward(graph: Graph, bad: _Bad) -> Trouble | None:
    """The last operation that passes on a gradient that is not finite, and got one that was."""
    for op in reversed(graph.ops):
        got = [value for value in op.outputs if value in bad.came]
        if got and not bad.back & set(got) and bad.back & set(op.inputs):
            return _trouble(graph, op, "NaN or infinity", bad, backward=True)
    return None


def _trouble(graph: Graph, op: Op, what: str, bad: _Bad, *, backward: bool) -> Trouble:
    before = [o for o in graph.ops[: op.index + 1] if o.kind == "map" and o.uses]
    near = before[-1].uses[0].parameter.removesuffix(".weight") if before else ""
    names = tuple(use.parameter for use in op.uses)
    return Trouble(what, op.name, backward, near, bad.lines.get(op.index, ""), names)


def _line() -> str:
    """The line of the model's code that the present call comes from: the innermost of its own."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not Recorder.run.__code__:
        if not frame.f_code.co_filename.startswith(OURS):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
