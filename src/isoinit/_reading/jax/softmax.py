"""Softmax and its logarithm, which are spelled out in steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from isoinit._reading.graph import Op, ReplayError
from isoinit._reading.jax.held import Signal
from isoinit._reading.jax.played import Played

if TYPE_CHECKING:
    from isoinit._reading.jax.recorder import Recorder


def softmax(recorder: Recorder, top: Signal, bottom: Signal) -> Op | None:
    """Return an operation that reads what a softmax does, with its axes; None where it is none.

    It is exp(x - c) over the sum of the same, whatever c is along its axes.
    """
    exp = recorder.maker.get(top.number)
    total = recorder.maker.get(bottom.number)
    while total is not None and total.kind == "move" and len(total.inputs) == 1:
        total = recorder.maker.get(total.inputs[0])
    if exp is None or exp.name != "exp" or total is None or total.name != "sum":
        return None
    if total.inputs[0] != top.number:
        return None
    shift = recorder.maker.get(exp.inputs[0])
    shifted = shift is not None and shift.name == "sub" and len(shift.inputs) == 2
    value = shift.inputs[0] if shift is not None and shifted else exp.inputs[0]
    return replace(total, inputs=(value,))


def softmax_played(axes: Sequence[int]) -> Played:
    along = tuple(axes)

    def forward(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        if arrays[0].ndim <= max(along):
            raise ReplayError(f"works along axis {max(along)}, which a row has not")
        shifted = np.exp(arrays[0] - arrays[0].max(axis=along, keepdims=True))
        return [shifted / shifted.sum(axis=along, keepdims=True)]

    def pull(arrays: Sequence[np.ndarray], gradient: np.ndarray) -> list[np.ndarray]:
        made = forward(arrays)[0]
        inner = (made * gradient).sum(axis=along, keepdims=True)
        return [made * (gradient - inner)]

    return Played(forward, pull)


def log_softmax(
    recorder: Recorder, top: Signal, bottom: Signal
) -> tuple[int, tuple[int, ...]] | None:
    """Return what a log-softmax reads, and its axes: z less the logarithm of the sum of exp(z)."""
    log = recorder.maker.get(bottom.number)
    while log is not None and log.kind == "move" and len(log.inputs) == 1:
        log = recorder.maker.get(log.inputs[0])
    total = recorder.maker.get(log.inputs[0]) if log is not None and log.name == "log" else None
    exp = recorder.maker.get(total.inputs[0]) if total is not None and total.name == "sum" else None
    if exp is None or total is None or exp.name != "exp" or exp.inputs[0] != top.number:
        return None
    shift = recorder.maker.get(top.number)
    shifted = shift is not None and shift.name == "sub" and len(shift.inputs) == 2
    return (shift.inputs[0] if shift and shifted else top.number), total.detail.dims
