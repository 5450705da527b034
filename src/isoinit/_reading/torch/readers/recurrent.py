"""Torch's recurrent layers, and single steps of them."""

from __future__ import annotations

from typing import Any

from isoinit._reading.graph import Use
from isoinit._reading.torch.readers.call import Call, Step
from isoinit._reading.torch.trees import tensors_in
from isoinit.initializers.scale import fans

GATES = {"lstm": 4, "gru": 3}  # others (the plain RNNs) have one


def recurrent(call: Call) -> list[Step]:
    """Read `torch.lstm`, `gru`, `rnn_tanh`, `rnn_relu`: the weights of all layers in one flat list.

    The arguments go (..., weights, has_biases, layers, dropout, train, bidirectional, ...).
    """
    at = next((i for i, arg in enumerate(call.args) if _holds_weights(call, arg)), None)
    if at is None:
        return []
    flat, biased, layers = call.args[at : at + 3]
    directions = 2 if call.args[at + 5] else 1
    group = len(flat) // (layers * directions)
    uses = [u for i, t in enumerate(flat) for u in _gate_uses(call, t, i % group, biased)]
    inputs = call.values(*tensors_in(call.args[:at]))
    return [Step(call.name, "recurrent", inputs, tuple(uses))]


def _holds_weights(call: Call, arg: Any) -> bool:
    return isinstance(arg, (list, tuple)) and any(call.weight(t) is not None for t in arg)


def cell(call: Call) -> list[Step]:
    """Read one step of a recurrent layer: (input, state, w_ih, w_hh, b_ih, b_hh)."""
    uses = [u for i, t in enumerate(call.args[2:]) for u in _gate_uses(call, t, i, biased=True)]
    inputs = call.values(*tensors_in(call.args[:2]))
    return [Step(call.name, "recurrent", inputs, tuple(uses))] if uses else []


def _gate_uses(call: Call, tensor: Any, place: int, biased: bool) -> list[Use]:
    """Return the use of one of a layer's tensors: w_ih, w_hh, b_ih and b_hh if `biased`, then w_hr."""
    weight = call.weight(tensor)
    if weight is None:
        return []
    gates = GATES.get(call.name.removesuffix("_cell"), 1)
    slots = ["input weight", "recurrent weight"]
    slots += ["input bias", "recurrent bias"] if biased else []
    if place >= len(slots):
        return weight.uses("weight", fans.linear)  # w_hr projects the state
    if slots[place].endswith("bias"):
        return weight.uses(slots[place], fans.vector)
    return weight.uses(slots[place], lambda shape: fans.linear(shape, gates))
