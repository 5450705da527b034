"""Measures how far each layer's output is from its target, in one pass over the graph in order.

Layer-sequential unit-variance (LSUV, Mishkin & Matas 2016, algorithm 1) divides each weight by the
standard deviation of its layer's output on a batch, layer after layer, each with a forward pass of
its own or ten. One pass is enough here, also for graphs with branches: the output is linear in the
weight, so it is corrected in place the moment it is made, and all that is computed from it sees the
corrected signal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from isoinit._planning.calibration.forward import SEED, copied, running_with
from isoinit._planning.calibration.notes import doubts, notes_of_corrections, notes_of_left
from isoinit._reading.graph import Graph, Op
from isoinit._reading.roles import Role, read_roles
from isoinit._reading.torch import as_arguments, explained, structure, trace
from isoinit._reading.torch.numbers import doubled, in_reals
from isoinit._reading.torch.record import Recorder
from isoinit._reading.torch.rng import seed_generators
from isoinit._reading.torch.trees import tensors_in
from isoinit.errors import ArgumentError
from isoinit.initializers import Initializer, KinkBias
from isoinit.initializers.scale.fans import Layout

Target = float | Mapping[str, float]


@dataclass(frozen=True)
class Corrections:
    """What a calibration found.

    Attributes:
        initializers: the corrected initializer of each calibrated weight, by name.
        factors: what its scale was multiplied by.
        notes: what was left alone and why, and what is doubtful about the batch, a sentence each.
    """

    initializers: dict[str, Initializer]
    factors: dict[str, float]
    notes: tuple[str, ...]


def measure_corrections(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    drawn: Mapping[str, torch.Tensor],
    initializers: Mapping[str, Initializer | None],
    batch: Any,
    target: Target,
) -> Corrections:
    """Run the model once on a batch and correct the scale of each weight as its output is made.

    Args:
        model: left as it was: parameters, buffers, mode and random numbers.
        parameters: its parameters, by name.
        drawn: what it runs with in the place of these, and of buffers.
        initializers: what `drawn` was filled with; None for a parameter that keeps its values.
        batch: an example, as `isoinit._reading.torch.as_arguments` takes it.
        target: the standard deviation that outputs shall have, as for `Plan.calibrate`; a mapping
            goes by the names of `parameters`.

    Raises:
        ArgumentError: if the batch holds NaN or infinity, or a target is not finite and above 0.
        TraceError: if the forward fails.
    """
    args, kwargs = as_arguments(batch)
    _refuse_targets(target)
    tensors = [t for t in tensors_in((args, kwargs)) if _holds_numbers(t)]
    _refuse_unmeasurable(tensors)
    graph = trace(model, batch)
    roles = read_roles(graph, lambda: structure(model))
    run = _Run({made.of for made in initializers.values() if isinstance(made, KinkBias)})
    for name, role in roles.items():
        initializer = initializers[name]
        if "weight" not in role.slot + role.tied:
            continue
        if initializer is None:
            run.left[name] = "the plan has no initializer for it"
        elif why := _obstacle(graph, role, initializer):
            run.left[name] = why
        else:
            dtype, goal = parameters[name].dtype, _target(role, target)
            run.ready[name] = _Weight(initializer, role.layout, dtype, goal)
    given = copied((args, kwargs))
    borrowed = running_with(drawn, model, parameters, given, run.observe)
    with borrowed as (inner, recorder):
        run.recorder = recorder
        seed_generators(SEED)
        try:
            recorder.run(inner, *given)
        except Exception as failure:
            raise explained(failure, "on the batch", model, batch) from failure
    scaled = {name: found.initializer for name, found in run.found.items()}
    factors = {name: found.factor for name, found in run.found.items()}
    never = run.ready.keys() - run.found.keys() - run.left.keys()
    left = {**run.left, **dict.fromkeys(never, "not used by this run")}
    notes = (
        *doubts(tensors),
        *notes_of_left(left, list(roles)),
        *notes_of_corrections(factors, run.uses),
    )
    return Corrections(scaled, factors, notes)


def _target(role: Role, target: Target) -> float:
    """Return the std that the output of a weight shall have.

    Residual branches add up: each of n gives 1/sqrt(n) of the stream's size.
    """
    if isinstance(target, Mapping):
        if role.parameter in target:
            return target[role.parameter]
        target = 1.0
    return target / math.sqrt(role.branches) if role.ends_branch and role.branches else target


def _refuse_targets(target: Target) -> None:
    named = target if isinstance(target, Mapping) else {"": target}
    for name, value in named.items():
        known = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not known or not 0 < value < math.inf:
            place = f"target[{name!r}]" if name else "target"
            raise ArgumentError(f"{place}={value!r}: expected a finite number above 0")


def _holds_numbers(tensor: torch.Tensor) -> bool:
    """Whether its values can be looked at as they are."""
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_nested)


def _refuse_unmeasurable(tensors: list[torch.Tensor]) -> None:
    if tensors and not any(tensor.numel() for tensor in tensors):
        raise ArgumentError("the batch is empty. Pass examples for the measurement")
    for number, tensor in enumerate(tensors):
        if bool(torch.isfinite(tensor).all()):
            continue
        where = tuple((~torch.isfinite(tensor)).nonzero()[0].tolist())
        which = f"tensor {number} of the batch" if len(tensors) > 1 else "the batch"
        raise ArgumentError(
            f"{which}, of shape {tuple(tensor.shape)}, holds {tensor[where].item()} at {where}, "
            "so scales cannot be measured. Pass finite data (in a mask, use the smallest finite "
            "number of the dtype instead of -inf); nothing was changed"
        )


def _obstacle(graph: Graph, role: Role, initializer: Initializer) -> str:
    """Why the scale of a weight cannot or should not be corrected; empty where it can."""
    uses = graph.uses_of(role.parameter)
    if initializer.is_fixed:
        return "fixed values at the start, nothing random"
    if "recurrent" in role.slot or any(op.kind == "recurrent" for op, _ in uses):
        return "recurrent, so that the output is not linear in the weight"
    if any(op.kind == "attention" for op, _ in uses):
        return "inside a fused attention, whose parts are not seen"
    if any(use.slot != "weight" or op.kind != "map" for op, use in uses):
        return "not only multiplied with a signal (an embedding too, say)"
    if any(use.through for _, use in uses):
        return "used through a function of itself"
    if any(len([u for u in op.uses if u.slot == "weight"]) > 1 for op, _ in uses):
        return "used as one with other weights"
    return ""


class _Weight(NamedTuple):
    """A weight whose scale can be corrected, and the standard deviation its output shall have."""

    initializer: Initializer
    layout: Layout
    dtype: torch.dtype
    target: float


class _Found(NamedTuple):
    """The corrected initializer of a weight, and the factor."""

    initializer: Initializer
    factor: float


class _Run:
    """Corrects the outputs of one run, and collects the factors.

    The tensors that the model runs with keep their first scale: every output of a calibrated weight
    is corrected, so that it does not matter whether a use met the parameter itself or a copy (cast,
    made contiguous) from before it was measured.

    Args:
        led: the weights whose biases are drawn in step with them, and scale as they do.
    """

    recorder: Recorder

    def __init__(self, led: Set[str]) -> None:
        self.led = led
        self.ready: dict[str, _Weight] = {}
        self.found: dict[str, _Found] = {}
        self.left: dict[str, str] = {}
        self.uses: dict[str, int] = {}

    def observe(self, op: Op, made: tuple[torch.Tensor, ...]) -> None:
        """Measure the output of a weight at its first use, and correct it at every one."""
        name = next((use.parameter for use in op.uses if use.slot == "weight"), None)
        if name is None or name not in self.ready or op.kind != "map" or name in self.left:
            return
        if not made[0].numel():  # an expert that no token went to
            return
        if any(t is made[0] for t in tensors_in(self.recorder.call[1:])):
            self.left[name] = "the output is written into a tensor that was there before"
            return
        rest = None if name in self.led else self._without_weight(op, name)
        self.uses[name] = self.uses.get(name, 0) + 1
        if name not in self.found:
            signal = made[0] if rest is None else made[0] - rest
            found = _measured(self.ready[name], signal, made[0])
            if isinstance(found, str):
                self.left[name] = found
                return
            self.found[name] = found
        factor = self.found[name].factor
        if rest is None:
            made[0].mul_(factor)
        else:
            made[0].sub_(rest).mul_(factor).add_(rest)

    def _without_weight(self, op: Op, name: str) -> torch.Tensor | None:
        """What the last call adds to the weight's work, such as a bias; None where it is nothing.

        Found by calling again with the weight at zero, unless all that was passed is the weight and
        the signal.
        """
        call = self.recorder.call

        def is_weight(tensor: Any) -> bool:
            return isinstance(tensor, torch.Tensor) and name in self.recorder.known.names(tensor)

        others = [
            t
            for t in tensors_in((call.args, call.kwargs))
            if not is_weight(t) and self.recorder.known.value(t) not in op.inputs
        ]
        if not any(bool(t.any()) for t in others):
            return None
        devices = {t.device for t in others if t.is_cuda}
        with torch.random.fork_rng(devices=devices):  # attention may draw dropout
            made = call.again(lambda t: torch.zeros_like(t) if is_weight(t) else t)
            return next(tensors_in(made))


def _measured(weight: _Weight, signal: torch.Tensor, output: torch.Tensor) -> _Found | str:
    """Return the correction of a weight, or why there is none.

    Args:
        weight: what its scale is, and what its output shall be.
        signal: what the weight made.
        output: that and what the operation added to it.
    """
    if not (signal.is_floating_point() or signal.is_complex()) or signal.numel() < 2:
        return "the output is a single number, whose standard deviation is not known"
    values = doubled(in_reals(signal.detach()))
    rms, std = values.square().mean().sqrt().item(), values.std(correction=0).item()
    if not math.isfinite(rms):
        return "the output is not finite on this batch"
    if rms == 0:
        return "the output is exactly zero on this batch"
    # Rounding errors of equal numbers are not a standard deviation.
    if std <= 4 * torch.finfo(signal.dtype).eps * doubled(output.detach().abs()).max().item():
        return "the output is the same number everywhere on this batch"
    factor = weight.target / std
    try:
        scaled = weight.initializer.scaled(factor)
        size = scaled.std_for(weight.layout)
    except ArgumentError as error:
        return f"no other scale is possible ({error})"
    limits = torch.finfo(weight.dtype)
    if not limits.tiny < size < limits.max / 16:  # the largest draws are some times as large
        return f"a correction of ×{factor:.3g} is more than {weight.dtype} can hold"
    return _Found(scaled, factor)
