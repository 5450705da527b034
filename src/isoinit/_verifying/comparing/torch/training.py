"""A short training, watched: the loss at each step, the time of a step, the memory that it keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from isoinit._reading.torch import as_arguments
from isoinit._reading.torch.trees import drawn_out, tensors_in
from isoinit._system.signals import call_user
from isoinit._verifying.comparing.turns import Steps
from isoinit._verifying.health.torch.passes import chosen_loss, unit_noise
from isoinit._verifying.losses import GivenLoss, Loss, inputs_and_loss
from isoinit.errors import ArgumentError

Data = Callable[[int], tuple[Any, GivenLoss | None]]
"""The batch of a step, counted from 0, and its loss, as `isoinit.check` takes both."""


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        batch: what the model takes at each step.
        loss: of its output; None for the output's own, or else the distance from fixed noise.
        data: gives another batch and loss for each step; None where all are the same.
    """

    batch: Any
    loss: Loss | None
    data: Data | None

    def at(self, step: int) -> tuple[Any, Loss | None]:
        """The batch of a step, and its loss."""
        return (self.batch, self.loss) if self.data is None else inputs_and_loss(*self.data(step))

    def __str__(self) -> str:
        if self.data is not None:
            return "the batches and losses that were given"
        return "one batch" if self.loss is not None else "one batch, its own loss or fixed noise"


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}


def objective(output: Any, loss: Loss | None) -> torch.Tensor:
    """What is made small: the loss given, or the output's own, or the distance from fixed noise.

    To memorize numbers is a task that any model has an output for.
    """
    found = chosen_loss(output, loss)
    if found is not None:
        return found
    outputs = [t for t in tensors_in(output) if t.requires_grad]
    if not outputs:
        raise ArgumentError(
            "the model's output does not depend on a trainable parameter, so there is nothing to "
            "compare. Return it without detach(), or set requires_grad"
        )
    pairs = [(t, unit_noise(t, index)) for index, t in enumerate(outputs)]
    return torch.stack([nn.functional.mse_loss(t, noise) for t, noise in pairs]).sum()


class Stepped(Protocol):
    """What makes a step of the gradients: an optimizer, or several together."""

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> Any:
        """Change the parameters."""


def plain_optimizer(model: nn.Module, name: str, lr: float) -> torch.optim.Optimizer:
    """An optimizer with one learning rate for all that is trained."""
    return OPTIMIZERS[name]([p for p in model.parameters() if p.requires_grad], lr=lr)


class Training:
    """Takes steps, and notes them."""

    def __init__(self, model: nn.Module, task: Task, optimizer: Stepped, steps: Steps) -> None:
        self.model, self.task, self.steps, self.optimizer = model, task, steps, optimizer

    def step(self) -> None:
        """One step of training."""
        batch, loss = call_user(self.task.at, len(self.steps.losses))
        args, kwargs = as_arguments(batch)
        start = time.perf_counter()
        value = objective(drawn_out(call_user(self.model, *args, **kwargs)), loss)
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        self.steps.losses.append(value.item())  # waits for the device: the time is the step's
        self.steps.seconds.append(time.perf_counter() - start)

    def measured_step(self) -> int:
        """One step of training; returns the bytes that it keeps.

        Those of parameters, buffers, gradients, the optimizer's state, and what the forward leaves
        for the backward pass, each memory once. Counted, so it is the same on any device, and holds
        neither what a kernel takes for a moment nor what the allocator keeps in reserve.
        """
        own = _storages([*self.model.parameters(), *self.model.buffers()])
        saved: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            saved.update(_storages([tensor]))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self.step()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        kept = getattr(self.optimizer, "state", {})
        states = [s for state in kept.values() for s in state.values()]
        rest = _storages(s for s in (*gradients, *states) if isinstance(s, torch.Tensor))
        return sum({**saved, **own}.values()) + sum(rest.values())


def _storages(tensors: Iterable[torch.Tensor]) -> dict[int, int]:
    """The memory behind tensors: where it is, and how many bytes."""
    found = {}
    for tensor in tensors:
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return found
