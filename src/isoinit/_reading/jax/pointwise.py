"""Functions of single elements, and what is spelled out with them: biases, scales, masks, softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from isoinit._reading.graph import Detail
from isoinit._reading.jax import constants
from isoinit._reading.jax.held import (
    WEIGHTS,
    Held,
    Joined,
    Known,
    Parameter,
    Pending,
    Signal,
    Weight,
    extents,
)
from isoinit._reading.jax.names import torch_name
from isoinit._reading.jax.played import Played, played
from isoinit._reading.jax.softmax import log_softmax, softmax, softmax_played

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation
    from isoinit._reading.jax.recorder import Recorder


def pointwise(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a function of single elements of one or several signals."""
    whole = [_whole(recorder, held) if isinstance(held, Pending) else held for held in eqn.operands]
    weights = [held for held in whole if isinstance(held, WEIGHTS)]
    operands, dropped, shape = _aligned(recorder, eqn, whole)
    signals = [held for held in operands if isinstance(held, Signal)]
    numbers = list(dict.fromkeys(held.number for held in signals))
    known = [held for held in operands if isinstance(held, Known)]
    name = torch_name(eqn.name)
    slot = "token" if name == "where" else "other"
    uses = [use for weight in weights for use in recorder.uses(weight, slot)]
    how = Played(why="uses parameters")
    if not uses:
        how = played(eqn.name, eqn.params, operands, numbers, eqn.read)
    tables = [one for one in known if constants.one_number(one) is None]
    of_state = bool(known) and all(held.state for held in known)
    detail = constants.detail_of(name, tables) if name in ("add", "sub", "mul", "div") else Detail()
    if name not in ("add", "sub", "mul", "div") and any(map(constants.is_causal, tables)):
        detail = Detail(causal=True)
    made = recorder.add(name, "other", numbers, shape, uses, played=how, detail=detail)
    if of_state and name == "sub" and len(numbers) == 1:
        recorder.centred.add(made)
    return [Signal(made, dropped)]


def _whole(recorder: Recorder, held: Held) -> Signal:
    return Signal(recorder.number(held))


def _aligned(
    recorder: Recorder, eqn: Equation, operands: Sequence[Held]
) -> tuple[list[Held], tuple[int, ...], tuple[int, ...]]:
    """Return the operands with one set of dropped axes, these axes, and the shape of what is made."""
    signals = [held for held in operands if isinstance(held, Signal)]
    dropped = {held.dropped for held in signals}
    others = [held for held in operands if not isinstance(held, Signal)]
    tensors = any(math.prod(recorder.size(held)) > 1 for held in others)
    if len(dropped) == 1 and not (tensors and signals[0].dropped):
        if not signals[0].dropped:
            return list(operands), (), eqn.shapes[0]
        sizes = [recorder.size(held) for held in signals]
        return list(operands), signals[0].dropped, tuple(np.broadcast_shapes(*sizes))
    plain: list[Held] = [
        Signal(recorder.number(held)) if isinstance(held, Signal) else held for held in operands
    ]
    return plain, (), eqn.shapes[0]


def product(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a product of two: a scale times the signal, or a statistic that waits for it."""
    a, b = eqn.operands
    if isinstance(a, (*WEIGHTS, Known)) or (isinstance(a, Signal) and isinstance(b, Pending)):
        a, b = b, a
    if isinstance(a, Pending) and isinstance(b, Signal):
        return [_scaled(recorder, eqn, b, a)]
    if isinstance(a, Signal) and isinstance(b, Parameter) and b.added:
        uses = recorder.uses(b, "bias")
        return [Signal(recorder.add("mul", "other", [recorder.number(a)], eqn.shapes[0], uses))]
    if isinstance(a, Signal) and isinstance(b, Parameter) and b.normed:
        read = recorder.before_state(recorder.number(a))
        uses, detail = recorder.uses(b, "scale"), Detail(live=False)
        made = recorder.add("batch_norm", "norm", [read], eqn.shapes[0], uses, detail=detail)
        return [Signal(made)]
    if isinstance(a, Signal) and isinstance(b, WEIGHTS):
        if _is_statistic(recorder.size(a), b) and not a.dropped:
            return [Pending(a, b)]
        uses = recorder.uses(b, _scale_slot(b))
        return [Signal(recorder.add("mul", "other", [recorder.number(a)], eqn.shapes[0], uses))]
    if isinstance(a, Signal) and isinstance(b, Known):
        return times(recorder, eqn, a, b)
    return _by_statistic(recorder, eqn) or pointwise(recorder, eqn)


def _by_statistic(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read what was scaled before a norm's statistic divides it: the scale comes last, as elsewhere.

    Returns:
        What it gives; [] where it is something else.
    """
    roots = ("rsqrt",) if eqn.name == "mul" else ("sqrt",)
    for a, b in (eqn.operands, eqn.operands[::-1]) if eqn.name == "mul" else (eqn.operands,):
        if not isinstance(a, Signal) or not isinstance(b, Signal) or a.number in recorder.read:
            continue
        scaled, root = recorder.maker.get(a.number), recorder.maker.get(b.number)
        if scaled is None or root is None or root.name not in roots or scaled.name != "mul":
            continue
        if len(scaled.inputs) == 1 and {use.slot for use in scaled.uses} == {"scale"}:
            plain = replace(eqn, operands=[Signal(scaled.inputs[0]), b])
            (made,) = pointwise(recorder, plain)
            value = recorder.number(made)
            recorder.change(scaled, uses=(), inputs=())
            last = recorder.add("mul", "other", [value], eqn.shapes[0], scaled.uses)
            return [Signal(last)]
    return []


def _scale_slot(weight: Weight) -> str:
    """Return "scale"; "other" where several parameters make it: what each should be is not known."""
    return "scale" if isinstance(weight, (Parameter, Joined)) else "other"


def _is_statistic(size: Sequence[int], weight: Weight) -> bool:
    """Return whether a signal may be a statistic: few elements, or one along some axis."""
    few = math.prod(size) <= math.prod(weight.shape[axis] for axis in extents(weight))
    return few or (len(size) > 1 and 1 in size)


def _scaled(recorder: Recorder, eqn: Equation, signal: Signal, pending: Pending) -> Signal:
    """Return a signal times a statistic times a scale, the statistic first."""
    both = [recorder.number(signal), pending.signal.number]
    shape = tuple(np.broadcast_shapes(*[recorder.sizes[value] for value in both]))
    operands = [Signal(value) for value in both]
    how = played("mul", {}, operands, list(dict.fromkeys(both)))
    made = recorder.add("mul", "other", list(dict.fromkeys(both)), shape, played=how)
    uses = recorder.uses(pending.scale, _scale_slot(pending.scale))
    return Signal(recorder.add("mul", "other", [made], eqn.shapes[0], uses))


def times(recorder: Recorder, eqn: Equation, signal: Signal, known: Known) -> list[Held]:
    """Read a product or quotient with a constant: perhaps what makes a sum a mean."""
    factor = constants.one_number(known)
    if factor == 1.0:
        return [signal]
    if factor and (mean := _mean(recorder, eqn, signal, factor)) is not None:
        return [mean]
    return pointwise(recorder, eqn)


def _mean(recorder: Recorder, eqn: Equation, signal: Signal, factor: float) -> Signal | None:
    """Return a sum, divided by how many it sums, as a mean; None where it is something else."""
    count = factor if eqn.name == "div" else 1 / factor
    made = recorder.maker.get(signal.number)
    if made is None or (eqn.operands[0] is not signal and eqn.name == "div"):
        return None
    if made.name == "mul" and made.detail.window and math.isclose(made.detail.window, count):
        return Signal(made.inputs[0])  # the window's sum, by its size
    if made.name != "sum" or not made.detail.dims:
        return None
    read = recorder.sizes[made.inputs[0]]
    if not math.isclose(math.prod(read[axis] for axis in made.detail.dims), count, rel_tol=1e-6):
        return None
    axes = made.detail.dims

    def mean(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.mean(arrays[0], axis=tuple(a for a in axes), keepdims=True)]

    def pull(arrays: Sequence[np.ndarray], gradient: np.ndarray) -> list[np.ndarray]:
        many = math.prod(arrays[0].shape[axis] for axis in axes)
        return [np.broadcast_to(gradient / many, arrays[0].shape).copy()]

    number = recorder.add(
        "mean",
        "other",
        made.inputs,
        recorder.sizes[signal.number],
        played=Played(mean, pull),
        detail=Detail(dims=axes),
    )
    return Signal(number, signal.dropped)


def quotient(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a quotient: a softmax, a mean, or one of single elements."""
    a, b = eqn.operands
    if isinstance(a, Signal) and isinstance(b, Known):
        return times(recorder, eqn, a, b)
    if isinstance(a, Signal) and isinstance(b, WEIGHTS):
        uses = recorder.uses(b, _scale_slot(b))
        return [Signal(recorder.add("div", "other", [recorder.number(a)], eqn.shapes[0], uses))]
    both = isinstance(a, Signal) and isinstance(b, Signal)
    if both and (found := softmax(recorder, a, b)) is not None:  # type: ignore[arg-type]
        how, detail = softmax_played(found.detail.dims), found.detail
        value = found.inputs[0]
        made = recorder.add("softmax", "other", [value], eqn.shapes[0], played=how, detail=detail)
        return [Signal(made)]
    return _by_statistic(recorder, eqn) or pointwise(recorder, eqn)


def sum_of(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a sum or difference: of signals, or with a bias, a shift or positions."""
    a, b = eqn.operands
    if isinstance(a, (*WEIGHTS, Known)) and eqn.name != "sub":
        a, b = b, a
    zeros = isinstance(b, Known) and b.shape and constants.one_number(b) == 0.0
    if zeros and isinstance(a, Signal):  # what a state of zeros gives: it is no signal yet
        return [a]
    if isinstance(b, WEIGHTS) and isinstance(a, (Signal, Pending)):
        return [_biased(recorder, eqn, Signal(recorder.number(a)), b)]
    if isinstance(a, WEIGHTS) and isinstance(b, (Signal, Pending)):
        slot = recorder.slot_of_sum(a, recorder.number(b))
        uses = recorder.uses(a, slot)
        return [Signal(recorder.add("sub", "other", [recorder.number(b)], eqn.shapes[0], uses))]
    both = isinstance(a, Signal) and isinstance(b, Signal) and eqn.name == "sub"
    if both and (found := log_softmax(recorder, a, b)) is not None:  # type: ignore[arg-type]
        value, dims = found[0], Detail(dims=found[1])
        return [Signal(recorder.add("log_softmax", "other", [value], eqn.shapes[0], detail=dims))]
    return pointwise(recorder, eqn)


def _biased(recorder: Recorder, eqn: Equation, signal: Signal, weight: Weight) -> Signal:
    """Return a signal with a parameter added: a layer and its bias are one operation."""
    if eqn.name != "sub" and recorder.take_bias(signal.number, weight, eqn.shapes[0]):
        return signal
    slot = recorder.slot_of_sum(weight, signal.number)
    uses = recorder.uses(weight, slot)
    name = torch_name(eqn.name)
    return Signal(recorder.add(name, "other", [signal.number], eqn.shapes[0], uses))


def cast(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a cast: between floating-point types it changes nothing that counts here."""
    (held,) = eqn.operands
    if constants.is_float(eqn.read[0]) == constants.is_float(eqn.dtypes[0]):
        return [held]
    return pointwise(recorder, eqn)


def same(_recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read what changes nothing."""
    return list(eqn.operands)


def detach(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read `stop_gradient`: the gradient ends there."""
    (held,) = eqn.operands
    if not isinstance(held, Signal):
        return [held]
    size = recorder.sizes[held.number]
    axes = Detail(axes=tuple((axis,) for axis in range(len(size))))
    return [Signal(recorder.add("detach", "move", [held.number], size, detail=axes), held.dropped)]


def extreme(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read `max` and `min` of two; with an infinite constant they change nothing."""
    for held, other in (eqn.operands, eqn.operands[::-1]):
        nothing = -math.inf if eqn.name == "max" else math.inf
        known = constants.one_number(held) if isinstance(held, Known) else None
        if known == nothing and isinstance(other, Signal):
            return [other]
        if known == 0.0 and eqn.name == "max" and isinstance(other, Signal):
            (made,) = pointwise(recorder, eqn)
            recorder.change(recorder.maker[made.number], name="relu")  # type: ignore[union-attr]
            return [made]
    return pointwise(recorder, eqn)
