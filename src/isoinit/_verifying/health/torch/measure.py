"""Measures the signal and the gradients in one forward and one backward pass."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from isoinit._reading.graph import Op, Use
from isoinit._reading.torch.numbers import in_reals, shape_of, where_doubles_are
from isoinit._reading.torch.record import Recorder
from isoinit._verifying.health.behind import Ranges, activation_behind, dead_and_saturated
from isoinit._verifying.health.records import SIGNALS, LayerHealth, Measurement
from isoinit._verifying.health.steps import is_one_unit
from isoinit._verifying.health.torch.layers import Probe, is_zero, ranges
from isoinit._verifying.health.torch.nonfinite import find_trouble
from isoinit._verifying.health.torch.passes import run_passes
from isoinit._verifying.losses import Loss
from isoinit._verifying.sharded import whole

WIDENED = 1 << 22  # numbers at most, of a tensor that is widened into memory that is kept: 32 MB
CHANNELS_FIRST = ("conv", "batch_norm", "group_norm", "instance_norm")


class _Norm:
    """The norms of many tensors, in double.

    On a processor torch widens all of a tensor to sum it. New memory for each costs more time than
    the sum, so one is kept.
    """

    def __init__(self) -> None:
        self._wide = torch.empty(0, dtype=torch.float64, device="cpu")

    def of(self, values: torch.Tensor) -> float:
        """Return the norm of real numbers."""
        count = values.numel()
        plain = type(values) is torch.Tensor and values.device.type == "cpu"
        narrow = plain and values.dtype is not torch.float64 and count <= WIDENED
        if narrow and values.is_contiguous():
            if len(self._wide) < count:
                self._wide = torch.empty(count, dtype=torch.float64, device="cpu")
            values = self._wide[:count].copy_(values.detach().view(-1))
        return float(
            torch.linalg.vector_norm(where_doubles_are(values), dtype=torch.float64).item()
        )


class _Watcher:
    """Takes the numbers of each layer and of each gradient while the passes run.

    Attributes:
        layers: in the order in which they ran.
        ranges: of the outputs of layers and norms, by their values in the graph.
        zeros: the values that are zero throughout.
        kept: the gradients, if they are kept.
    """

    def __init__(self, keep: bool, among: Collection[str] | None) -> None:
        self.layers: list[LayerHealth] = []
        self.ranges: dict[int, Ranges] = {}
        self.zeros: set[int] = set()
        self.kept: dict[str, torch.Tensor] = {}
        self._keep, self._among = keep, among
        self._squares: dict[str, float] = {}
        self._norm = _Norm()

    def watch(self, op: Op, made: tuple[torch.Tensor, ...], _recorder: Recorder) -> None:
        """Measure what an operation made, if it is a layer or a norm."""
        numbers = made[0].is_floating_point() or made[0].is_complex()
        if not numbers or not made[0].numel():
            return
        pairs = zip(op.outputs[-len(made) :], made, strict=False)
        self.zeros.update(value for value, tensor in pairs if is_zero(tensor))
        output = whole(made[0])
        used = next((use for use in op.uses if "weight" in use.slot), None)
        weight = None if used is None else used.parameter
        axis = _axis(op, output, used)
        if self._among is not None and (weight not in self._among or op.kind not in SIGNALS):
            return
        if op.kind in SIGNALS and weight is not None:
            self.layers.append(LayerHealth(weight.removesuffix(".weight") or weight, op.outputs[0]))
            Probe(self.layers[-1], axis).forward(output)
        if output.is_floating_point() and (op.kind == "norm" or (op.kind in SIGNALS and weight)):
            self.ranges[op.outputs[0]] = ranges(output, axis)

    def take(self, name: str, gradient: torch.Tensor) -> None:
        """Add a parameter's gradient: it may come in parts, where segments are computed again."""
        if self._keep or self.zeros:
            self.kept[name] = self.kept[name] + gradient if name in self.kept else gradient
        values = in_reals(whole(gradient))
        size = self._norm.of(values)
        self._squares[name] = self._squares.get(name, 0.0) + size * size / max(values.numel(), 1)

    def gradients(self, parameters: dict[str, nn.Parameter]) -> dict[str, float | None]:
        """Return the root mean square of each trained parameter's gradient; None where none came."""
        return {
            name: math.sqrt(self._squares[name]) if name in self._squares else None
            for name, parameter in parameters.items()
            if parameter.requires_grad
        }


def _axis(op: Op, output: torch.Tensor, used: Use | None) -> int | None:
    """The axis of the units in what a layer or a norm makes; None where it has no such axis."""
    if op.name.startswith(CHANNELS_FIRST):
        return 1 if output.dim() > 1 else -1
    alone = used is not None and op.kind == "map" and is_one_unit(used.layout, shape_of(output))
    return None if alone else -1


def measure(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    batch: Any,
    loss: Loss | None,
    *,
    keep: bool = False,
    among: Collection[str] | None = None,
) -> Measurement:
    """Run the model forward and backward and record the signal at each layer.

    Takes and raises what `passes.run_passes` does. Where something is not finite, the passes
    are run once more to find the operation that made it so.

    Args:
        model: left as it was.
        parameters: its parameters, by name.
        batch: an example.
        loss: as for `passes.run_passes`.
        keep: whether to keep the gradients, also where nothing is zero.
        among: the weights whose layers are measured; None for all.
    """
    watcher = _Watcher(keep, among)
    passes = run_passes(model, parameters, batch, loss, watcher.watch, watcher.take)
    layers, gradients = watcher.layers, watcher.gradients(parameters)
    for layer in layers:
        behind = activation_behind(passes.graph, layer.value)
        if behind is not None and behind[0] in watcher.ranges:
            kept, function = watcher.ranges[behind[0]], behind[1]
            layer.dead, layer.saturated = dead_and_saturated(kept, function)
    sizes = [*(layer.rms for layer in layers), *(g for g in gradients.values() if g is not None)]
    lost = passes.loss is not None and not math.isfinite(passes.loss)
    trouble = None
    if lost or not passes.finite or not all(map(math.isfinite, sizes)):
        trouble = find_trouble(model, parameters, batch, loss)
    chance = None if passes.classes is None else math.log(passes.classes)
    return Measurement(
        layers,
        gradients,
        passes.loss,
        chance,
        passes.began,
        passes.outputs,
        passes.read,
        passes.graph,
        trouble,
        frozenset(watcher.zeros),
        watcher.kept,
    )
