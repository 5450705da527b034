"""What the first steps of training make of what is zero or alike at the start: see `doubts`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoinit._reading.roles import Role
from isoinit._reading.torch.rng import generators_kept, seed_generators
from isoinit._verifying.health.doubts import Ahead, lasting, with_equal_units
from isoinit._verifying.health.records import Measurement, WeightHealth
from isoinit._verifying.health.steps import EPSILON, ROUNDING, STEP
from isoinit._verifying.health.torch.measure import measure
from isoinit._verifying.health.torch.units import agreeing
from isoinit._verifying.losses import Loss
from isoinit._verifying.sharded import whole


@dataclass(frozen=True)
class _Trials:
    """A torch model to try steps on: see `doubts.Trials`.

    Attributes:
        twins: the share of units that another one equals, of each weight that has any.
        values: these weights as they were at the start.
    """

    model: nn.Module
    parameters: dict[str, nn.Parameter]
    batch: Any
    loss: Loss | None
    optimizer: str
    roles: Mapping[str, Role]
    twins: Mapping[str, float]
    values: Mapping[str, torch.Tensor]

    @contextmanager
    def tried(self) -> Iterator[None]:
        with restored(self.parameters), generators_kept():
            yield

    def step(self, gradients: Mapping[str, torch.Tensor], number: int) -> None:
        _step(self.parameters, gradients, self.optimizer)
        seed_generators(number)  # a branch that was dropped by chance comes back

    def measure(self, among: Collection[str]) -> Measurement:
        return measure(self.model, self.parameters, self.batch, self.loss, keep=True, among=among)

    def alike(self, gradients: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return the share of units that have been the same and get the same gradient.

        Units that have been parted show it by their gradient: the values need no second look.
        """
        found = dict(self.twins)
        for name in self.twins.keys() & gradients.keys():
            values, gradient = whole(self.values[name]), whole(gradients[name])
            found[name] = agreeing(values, _dense(gradient), self.roles[name].layout)
        return {name: share for name, share in found.items() if share}


def look_ahead(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    batch: Any,
    loss: Loss | None,
    optimizer: str,
    start: Measurement,
    weights: Mapping[str, WeightHealth],
    roles: Mapping[str, Role],
) -> Ahead:
    """Return what is zero or alike at the start, and still so after a few small steps.

    Args:
        model: as before at the end.
        parameters: its parameters, by name.
        batch: an example.
        loss: as for `measure`.
        optimizer: what makes the steps: "adam" or "sgd".
        start: what was measured at the start.
        weights: what the parameters look like.
        roles: what they are for.
    """
    twins = with_equal_units(weights, roles)
    values = {name: parameters[name].detach().clone() for name in twins}
    trials = _Trials(model, parameters, batch, loss, optimizer, roles, twins, values)
    return lasting(start, trials, shared_out=_is_shared_out())


def _is_shared_out() -> bool:
    """Whether other processes may take part in each pass."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@contextmanager
def restored(parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Inside, parameters may be changed in place; at the end each holds what it held."""
    trained = [p for p in parameters.values() if p.requires_grad]
    with torch.no_grad():
        before = [p.detach().clone() for p in trained]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(trained, before, strict=True):
                parameter.copy_(values)


def _step(
    parameters: Mapping[str, nn.Parameter], gradients: Mapping[str, torch.Tensor], optimizer: str
) -> None:
    """Take the first step of an optimizer, a small one."""
    with torch.no_grad():
        rate = STEP
        if optimizer == "sgd":
            moved = [parameters[name] for name in gradients]
            slopes = sum(_square(g) for g in gradients.values())
            sizes = sum(map(_square, moved)) or sum(p.numel() for p in moved)  # of unit size
            rate *= (sizes / slopes) ** 0.5 if slopes else 0.0
        for name, gradient in gradients.items():
            step = _dense(gradient)
            size = _square(step) ** 0.5 / max(step.numel(), 1) ** 0.5
            step = torch.where(step.abs() < ROUNDING * size, 0, step)  # signs of rounding errors
            if optimizer == "adam":
                step = step / (step.abs() + EPSILON)
            parameters[name].sub_(step.to(parameters[name].dtype), alpha=rate)


def _square(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(whole(_dense(tensor.detach()))).item() ** 2)


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_dense() if tensor.layout is not torch.strided else tensor
