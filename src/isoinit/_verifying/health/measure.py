"""Measures the signal and the parameters in one forward and one backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoinit._reading.graph import Array, Graph, Kind, Op
from isoinit._reading.pointwise import following
from isoinit._reading.torch.record import Recorder
from isoinit._verifying.health.layers import LayerHealth, Probe, Ranges, dead_and_saturated, ranges
from isoinit._verifying.health.nonfinite import Trouble, find_trouble
from isoinit._verifying.health.passes import Loss, run_passes

LAYERS: tuple[Kind, ...] = (
    "map",
    "recurrent",
    "attention",
)  # the operations whose output is a layer's signal
CHANNELS_FIRST = ("conv", "batch_norm", "group_norm", "instance_norm")


@dataclass(frozen=True)
class Measurement:
    """What one forward and backward pass showed.

    Attributes:
        layers: in the order in which they ran; a layer used twice appears twice.
        gradients: root mean square of the loss's gradient by each trained parameter; None where
            none came.
        loss: the loss; None where a random gradient was sent back.
        chance: the loss of a model that knows nothing, ln C; None where that is not known.
        began: whether the forward returned anything that depends on a trained parameter.
        outputs: how many tensors it returned.
        graph: the operations that ran.
        trouble: what first was not finite, and the operation that made it; None where all is.
    """

    layers: list[LayerHealth]
    gradients: dict[str, float | None]
    loss: float | None
    chance: float | None
    began: bool
    outputs: int
    graph: Graph
    trouble: Trouble | None


def measure(
    model: nn.Module, parameters: dict[str, nn.Parameter], batch: Any, loss: Loss | None
) -> Measurement:
    """Run the model forward and backward and record the signal at each layer.

    Takes and raises what `passes.run_passes` does. Where something is not finite, the passes
    are run once more to find the operation that made it so.
    """
    layers: list[LayerHealth] = []
    kept: dict[int, Ranges] = {}

    def watch(op: Op, made: tuple[torch.Tensor, ...], _recorder: Recorder) -> None:
        if not made[0].is_floating_point() or not made[0].numel():
            return
        output = _whole(made[0])
        axis = 1 if op.name.startswith(CHANNELS_FIRST) and output.dim() > 1 else -1
        weight = next((use.parameter for use in op.uses if "weight" in use.slot), None)
        if op.kind in LAYERS and weight is not None:
            layers.append(LayerHealth(weight.removesuffix(".weight") or weight, op.outputs[0]))
            Probe(layers[-1], axis).forward(output)
            kept[op.outputs[0]] = ranges(output, axis)
        elif op.kind == "norm":
            kept[op.outputs[0]] = ranges(output, axis)

    squares: dict[str, float] = {}

    def take(name: str, gradient: torch.Tensor) -> None:
        # A parameter may get its gradient in parts, where segments are computed again.
        size = torch.linalg.vector_norm(_whole(gradient), dtype=torch.float64).item()
        squares[name] = squares.get(name, 0.0) + size**2 / max(gradient.numel(), 1)

    passes = run_passes(model, parameters, batch, loss, watch, take)
    for layer in layers:
        behind = _activation_behind(passes.graph, layer.value)
        if behind is not None and behind[0] in kept:
            layer.dead, layer.saturated = dead_and_saturated(kept[behind[0]], behind[1])
    gradients = {
        name: math.sqrt(squares[name]) if name in squares else None
        for name, parameter in parameters.items()
        if parameter.requires_grad
    }
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
        passes.graph,
        trouble,
    )


def _activation_behind(graph: Graph, value: int) -> tuple[int, Callable[[Array], Array]] | None:
    """The activation behind a layer, and the value that it works on: the layer's, or a norm's."""
    way = following(graph, value)
    if not way.names:
        return None
    if way.norm:
        norm = next((i for i in sorted(graph.norms) if graph.depends(graph.norms[i], value)), None)
        return None if norm is None else (graph.ops[norm].outputs[0], way.function)
    return value, way.function


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor, gathered; any other as it is."""
    whole: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole
