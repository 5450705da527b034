"""Measures the signal: one forward and one backward pass, and no trace left in the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoinit.errors import ArgumentError
from isoinit.graph import Graph, Kind, Op
from isoinit.random import Stream
from isoinit.trace import as_arguments, explained, recording
from isoinit.trace.record import tensors_in

Loss = Callable[[Any], torch.Tensor]

LAYERS: tuple[Kind, ...] = (
    "map",
    "recurrent",
    "attention",
)  # the operations whose output is a layer's signal


@dataclass
class Layer:
    """The signal at the output of one layer.

    Attributes:
        name: the weight's name, without a final ".weight".
        value: which value of the graph was measured.
        mean, rms, largest: of the output, over the batch and all units.
        spread: how much an output differs between examples: the root mean square over units of the
            standard deviation along the first axis. What is the same for every example (the work
            of biases) carries nothing; NaN for a batch of one.
        gradient: root mean square of the loss's gradient by the output; NaN where none came back.
        expected: the root mean square that a plan expects; None without a plan that does.
    """

    name: str
    value: int
    mean: float
    rms: float
    spread: float
    largest: float
    gradient: float = math.nan
    expected: float | None = None


@dataclass(frozen=True)
class Measurement:
    """What one forward and backward pass showed.

    Attributes:
        layers: in the order in which they ran; a layer used twice appears twice.
        gradients: root mean square of the loss's gradient by each parameter; None where none came.
        loss: the loss; None where a random gradient was sent back.
        graph: the operations that ran.
    """

    layers: list[Layer]
    gradients: dict[str, float | None]
    loss: float | None
    graph: Graph


def measure(
    model: nn.Module, parameters: dict[str, nn.Parameter], batch: Any, loss: Loss | None
) -> Measurement:
    """Run the model forward and backward and record the signal at each layer.

    Args:
        model: left as it was: parameters, gradients, buffers, mode and random numbers.
        parameters: its parameters, by name.
        batch: an example, as `isoinit.trace.as_arguments` takes it.
        loss: from the model's output to a scalar; None uses the output's own `loss`, or else sends
            a random gradient of unit size back from the output.

    Raises:
        TraceError: if the forward or the loss fails.
        ArgumentError: if the loss is not one finite-or-not number that depends on the parameters.
    """
    args, kwargs = as_arguments(batch)
    layers: list[Layer] = []

    def observe(op: Op, made: tuple[torch.Tensor, ...]) -> None:
        weight = next((use.parameter for use in op.uses if "weight" in use.slot), None)
        if op.kind in LAYERS and weight is not None and made[0].is_floating_point():
            layers.append(_layer(weight, op.outputs[0], made[0]))

    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    with recording(model, observe=observe) as (inner, recorder), torch.enable_grad():
        try:
            output = recorder.run(inner, args, kwargs)
            target, weights, value = _start(output, loss)
        except ArgumentError:
            raise
        except Exception as failure:
            raise explained(failure, "on the batch", model, batch) from failure
        found: tuple[torch.Tensor | None, ...] = (None,) * len(trained)
        if target and trained:
            found = torch.autograd.grad(target, list(trained.values()), weights, allow_unused=True)
        graph = recorder.graph(output, "real")
    gradients = {
        name: None if gradient is None else _rms(gradient)
        for name, gradient in zip(trained, found, strict=True)
    }
    return Measurement(layers, gradients, value, graph)


def _layer(weight: str, value: int, output: torch.Tensor) -> Layer:
    signal = output.detach().double()
    layer = Layer(
        weight.removesuffix(".weight") or weight,
        value,
        mean=signal.mean().item(),
        rms=_rms(signal),
        spread=_rms(signal - signal.mean(0)) if signal.dim() and len(signal) > 1 else math.nan,
        largest=signal.abs().max().item() if signal.numel() else 0.0,
    )
    if output.requires_grad:
        output.register_hook(lambda gradient: setattr(layer, "gradient", _rms(gradient)))
    return layer


def _rms(tensor: torch.Tensor) -> float:
    return tensor.detach().double().square().mean().sqrt().item() if tensor.numel() else 0.0


def _start(
    output: Any, loss: Loss | None
) -> tuple[list[torch.Tensor], list[torch.Tensor | None], float | None]:
    """Where the backward pass starts: tensors, the gradients put on them, and the loss."""
    chosen = loss(output) if loss is not None else _own_loss(output)
    if chosen is not None:
        if not isinstance(chosen, torch.Tensor) or chosen.numel() != 1:
            found = tuple(chosen.shape) if isinstance(chosen, torch.Tensor) else type(chosen)
            raise ArgumentError(f"loss gave {found}; expected a tensor of one number")
        if not chosen.requires_grad:
            raise ArgumentError("loss does not depend on any parameter that is trained")
        return [chosen], [None], chosen.item()
    outputs = [t for t in tensors_in(output) if t.requires_grad]
    return outputs, [_unit_noise(tensor, index) for index, tensor in enumerate(outputs)], None


def _own_loss(output: Any) -> Any:
    """The loss that the model worked out itself, as `transformers` models do given labels."""
    return output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)


def _unit_noise(tensor: torch.Tensor, index: int) -> torch.Tensor:
    """A random gradient of root mean square one, the same at every call."""
    noise = torch.empty(tensor.numel())
    Stream(0, "check", f"gradient {index}").normal(noise.numpy())
    return noise.reshape(tensor.shape).to(tensor)
