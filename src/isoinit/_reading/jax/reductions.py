"""Sums, extremes and orders along axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isoinit._reading.graph import Detail
from isoinit._reading.jax.held import Held, Signal
from isoinit._reading.jax.names import torch_name
from isoinit._reading.jax.played import played

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation
    from isoinit._reading.jax.recorder import Recorder


def reduced(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a sum or another reduction; the axes over which it runs may come back."""
    value = recorder.number(eqn.operands[0])
    before = recorder.sizes[value]
    axes = tuple(sorted(int(axis) for axis in eqn.params["axes"]))
    kept = [1 if axis in axes else size for axis, size in enumerate(before)]
    how = played(eqn.name, {**eqn.params, "axes": axes}, [Signal(value)], [value])
    name = torch_name(eqn.name)
    made = recorder.add(name, "other", [value], kept, played=how, detail=Detail(dims=axes))
    return [Signal(made, axes)]


def along(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read what works along one axis and keeps it: a cumulative sum, an order."""
    values = list(dict.fromkeys(recorder.number(held) for held in eqn.operands))
    axis = eqn.params.get("axis", eqn.params.get("dimension", len(eqn.shapes[0]) - 1))
    dims = Detail(dims=(int(axis),))
    if eqn.name == "top_k" or len(eqn.shapes) > 1:
        name = torch_name(eqn.name)
        found = recorder.several(name, "other", values, eqn.shapes, detail=dims)
        return [Signal(number) for number in found]
    how = played(eqn.name, eqn.params, [Signal(v) for v in values], values)
    name = torch_name(eqn.name)
    return [Signal(recorder.add(name, "other", values, eqn.shapes[0], played=how, detail=dims))]
