"""Gradients through time: behind torch's recurrent layers, from the slopes of their settled state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoinit._planning.propagation.backward.gradient import Backward, Gradient, unknown
from isoinit._planning.propagation.draws import Draws
from isoinit._planning.propagation.recurrent import LONGEST, state
from isoinit._planning.propagation.samples import Signal
from isoinit._reading.graph import Array, Op
from isoinit.initializers import GateBias


@dataclass(frozen=True)
class _Slopes:
    """Mean squares of the slopes of one step.

    What carries the gradient from step to step is the cell of an LSTM, the state of a GRU.

    Attributes:
        entered: how much of the state's gradient goes to the carrier; 1 if that is the state.
        kept: how much of the carrier's gradient goes straight to the carrier before.
        carry: the mean of that slope.
        inputs, fed_back: how much of the state's gradient goes to the inputs of the gates, and to
            their recurrent input, other than through the carrier.
        carried: how much of the carrier's gradient goes to the inputs of the gates.
        carried_back: how much of it goes to their recurrent input.
        lag: the mean product of these slopes at two steps in a row.
    """

    entered: float
    kept: float
    carry: float
    inputs: float
    fed_back: float
    carried: float = 0.0
    carried_back: float = 0.0
    lag: float = 0.0


def arrived(back: Backward, op: Op) -> Gradient | None:
    """Return the gradient of a recurrent layer's outputs: of all states, and of the last one.

    That of the last state counts as distributed over the steps: it decays on its way back.
    """
    whole = Gradient(np.zeros_like(back.noise(1.0).row))
    for value in op.outputs:
        gradient = back.gradients.get(value, whole)
        share = back.per(value, op.outputs[0])
        if gradient is None or share is None:
            return None
        whole = whole if gradient is whole else whole.plus(gradient.times(math.sqrt(share)))
    return whole


def through_time(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradient of the input, each layer followed back in time.

    Pascanu et al. 2013, section 2.1, with mean squares in the place of norms.
    """
    signal = back.context.signals.get(op.inputs[0])
    size, made = back.size(op.inputs[0]), back.size(op.outputs[0])
    if signal is None or "cell" in op.name or len(size) < 2 or not made:
        return unknown(op)
    layers = _layers(back, op, signal)
    if layers is None or layers[-1][0] != made[-1]:  # of both directions: not followed
        return unknown(op)
    steps = min(max(*size[:-1], 1), LONGEST)
    second, lag = gradient.second, 0.0
    for _, outer, back_to_input, slopes in reversed(layers):
        second, lag = _settled(second, lag, slopes, outer, steps)
        second *= back_to_input
    return [back.noise(second, second * lag), *unknown(op)[1:]]


def _layers(
    back: Backward, op: Op, signal: Signal
) -> list[tuple[float, float, float, _Slopes]] | None:
    """Return of each layer its units, what its weights do to a mean square, and its slopes."""
    fill, rng = back.context.fill, Draws()
    uses = {slot: [use for use in op.uses if use.slot == slot] for slot in SLOTS}
    biases = (fill(op, use, None) for use in uses["input bias"])
    forget = next((bias.val for bias in biases if isinstance(bias, GateBias)), 0.0)
    steps = min(max((*back.size(op.inputs[0])[:-1], 1)), LONGEST)
    found = []
    for use, again in zip(uses["input weight"], uses["recurrent weight"], strict=True):
        weight, recurrent = fill(op, use, None), fill(op, again, None)
        if weight is None or recurrent is None:
            return None
        power = weight.std_for(use.layout) ** 2
        outer = again.layout.fan_in * recurrent.std_for(again.layout) ** 2
        last: dict[str, Array] = {}
        inner = signal.products * use.layout.fan_in * power
        signal = state(rng, op.name, inner, outer, forget, steps, last=last)
        units = again.layout.fan_in
        found.append((units, outer, units * power, _slopes(op.name, last)))
    return found


SLOTS = ("input weight", "recurrent weight", "input bias")


def _slopes(name: str, last: dict[str, Array]) -> _Slopes:
    """Return the slopes of a step at samples of its gates."""
    if name.startswith("lstm"):
        cell, was = np.tanh(last["cell"]), last["cell before"]
        new, forget = last["in"] * (1 - last["new"] ** 2), was * _gate(last, "forget")
        out = _square(cell * _gate(last, "out"))
        carry = float(last["forget"].mean())
        return _Slopes(
            entered=_square(last["out"] * (1 - cell**2)),
            kept=_square(last["forget"]),
            carry=carry,
            inputs=out,
            fed_back=out,
            carried=(
                into := _square(new) + _square(forget) + _square(last["new"] * _gate(last, "in"))
            ),
            carried_back=into,
            lag=float(new.mean()) ** 2 + carry * _square(forget),
        )
    if name.startswith("gru"):
        new = (1 - last["update"]) * (1 - last["new"] ** 2)
        gates = _square((last["before"] - last["new"]) * _gate(last, "update"))
        gates += _square(new * last["fed back"] * _gate(last, "reset"))
        return _Slopes(
            entered=1.0,
            kept=_square(last["update"]),
            carry=float(last["update"].mean()),
            inputs=0.0,
            fed_back=0.0,
            carried=gates + _square(new),
            carried_back=gates + _square(new * last["reset"]),
            lag=float(new.mean()) ** 2,
        )
    slope = _square(1 - last["after"] ** 2 if "tanh" in name else np.sign(last["after"]))
    return _Slopes(0.0, 0.0, 0.0, slope, slope)


def _square(slope: Array) -> float:
    return float(np.square(slope).mean())


def _gate(last: dict[str, Array], which: str) -> Array:
    """Return the slope of a sigmoid from its value."""
    return last[which] * (1 - last[which])


def _settled(
    given: float, lag: float, slopes: _Slopes, outer: float, steps: int
) -> tuple[float, float]:
    """Return what comes to the inputs of the gates: its mean square, and its correlation in time.

    Args:
        given: the mean square of the gradient that comes to the state from above, at each step.
        lag: its correlation from one step to the next.
        slopes: those of a step.
        outer: what the recurrent weights do to a mean square.
        steps: how many are averaged over.
    """
    gathers = (1 + lag * slopes.carry) / (1 - lag * slopes.carry)  # of a sum of alike terms
    total = carriers = carrier = fed = 0.0
    for _ in range(steps):
        state_gradient = given + outer * fed
        entered = slopes.entered * (given * gathers + outer * fed)
        carrier = entered + slopes.kept * carrier
        total += (slopes.inputs * state_gradient + slopes.carried * carrier) / steps
        carriers += carrier / steps
        fed = slopes.fed_back * state_gradient + slopes.carried_back * carrier
    after = (slopes.carry + lag) / (1 + slopes.carry * lag)
    return total, slopes.lag * after * carriers / total if total else 0.0
