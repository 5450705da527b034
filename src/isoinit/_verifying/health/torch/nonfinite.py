"""Finds the operation that first made a NaN or an infinity, forward or backward."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from isoinit._reading.graph import Op
from isoinit._reading.torch import as_arguments
from isoinit._reading.torch.numbers import is_finite, stored
from isoinit._reading.torch.record import Recorder
from isoinit._reading.torch.run import OURS
from isoinit._reading.torch.trees import tensors_in
from isoinit._verifying.health.blame import Bad, first_trouble
from isoinit._verifying.health.records import Trouble
from isoinit._verifying.health.torch.passes import run_passes
from isoinit._verifying.losses import Loss


def find_trouble(
    model: nn.Module, parameters: dict[str, nn.Parameter], batch: Any, loss: Loss | None
) -> Trouble | None:
    """Run the passes again and look at every value; None if all that matters is finite."""
    given = [n for t in tensors_in(as_arguments(batch)) if (n := stored(t)) is not None]
    nan = "NaN" * any(bool(t.isnan().any()) for t in given)
    infinite = "infinity" * any(bool(t.isinf().any()) for t in given)
    bad = Bad(set(), set(), {}, set(), set(), nan or infinite)

    def watch(op: Op, made: tuple[torch.Tensor, ...], _recorder: Recorder) -> None:
        bad.lines[op.index] = _line()
        for value, tensor in zip(op.outputs[-len(made) :], made, strict=False):
            _look(value, tensor, bad)

    passes = run_passes(model, parameters, batch, loss, watch, lambda *_: None)
    return first_trouble(passes.graph, bad)


def _look(value: int, tensor: torch.Tensor, bad: Bad) -> None:
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


def _line() -> str:
    """The line of the model's code that the present call comes from: the innermost of its own."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not Recorder.run.__code__:
        if not frame.f_code.co_filename.startswith(OURS):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
