"""How a model of some width starts, and what trains it: by a transfer, without, or your own way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from isoinit._planning.transfer.transfers import Transfer
from isoinit._planning.transfer.verb import transfer
from isoinit._planning.verbs import plan
from isoinit._system.signals import call_user
from isoinit._verifying.comparing.training import Stepped
from isoinit.errors import ArgumentError, IsoinitError

Parametrization = str | Callable[[nn.Module, int, int], Any]
"""One of `PARAMETRIZATIONS`, or a function of a model, its width and a seed.

The function initializes the model in place, and returns an optimizer, or groups for one.
"""

PARAMETRIZATIONS = ("transfer", "standard")
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
}


@dataclass
class Starts:
    """Starts models of all widths.

    Attributes:
        build: makes a model of a width.
        base: the width whose settings are transferred.
        batch: what the models take.
        optimizer: its name.
        lr: the learning rate at the base width.
        parametrization: how learning rates and scales follow the width.
    """

    build: Callable[[int], nn.Module]
    base: int
    batch: Any
    optimizer: str
    lr: float
    parametrization: Parametrization
    _transfers: dict[int, Transfer] = field(default_factory=dict)

    def refuse(self) -> None:
        """Raise `ArgumentError` for an unknown optimizer or parametrization, or a rate of 0."""
        if not 0 < self.lr < math.inf:
            raise ArgumentError(f"lr={self.lr!r}: expected a learning rate, finite and above 0")
        if self.optimizer not in OPTIMIZERS:
            known = " or ".join(OPTIMIZERS)
            raise ArgumentError(f"optimizer={self.optimizer!r}: expected {known}")
        known = " or ".join(map(repr, PARAMETRIZATIONS))
        if not callable(self.parametrization) and self.parametrization not in PARAMETRIZATIONS:
            raise ArgumentError(
                f"parametrization={self.parametrization!r}: expected {known}, or a function of a "
                "model, its width and a seed that starts the model and returns groups for an optimizer"
            )

    def begin(self, width: int, seed: int) -> tuple[nn.Module, Stepped]:
        """Return a new model, initialized under a seed, and what trains it."""
        model = built(self.build, width)
        if callable(self.parametrization):
            groups = call_user(self.parametrization, model, width, seed)
            if callable(getattr(groups, "step", None)):
                return model, groups
        elif self.parametrization == "standard":
            plan(model, self.batch).apply(model, seed)
            groups = [p for p in model.parameters() if p.requires_grad]
        else:
            transferred = self._transfer(width, model)
            transferred.plan.apply(model, seed)
            groups = transferred.groups(model, lr=self.lr)
        return model, OPTIMIZERS[self.optimizer](groups, lr=self.lr)

    def _transfer(self, width: int, model: nn.Module) -> Transfer:
        """The transfer to a width: worked out once, of the first model."""
        if width not in self._transfers:
            base = built(self.build, self.base)
            self._transfers[width] = transfer(base, model, self.batch, optimizer=self.optimizer)
        return self._transfers[width]

    def gauge_of(self, width: int, parameter: str) -> float:
        """How many times larger what a weight makes is stored than in the papers' form.

        Args:
            width: of the model.
            parameter: the weight's name; "" for what no weight makes, such as attention scores, which
                are as in the papers.
        """
        if width not in self._transfers:
            return 1.0
        found = self._transfers[width].factors.get(parameter)
        return 1.0 if found is None else found.signal


def built(build: Callable[[int], nn.Module], width: int) -> nn.Module:
    """Return a new model of a width.

    Raises:
        ArgumentError: if it cannot be built, or is no module.
    """
    try:
        model = call_user(build, width)
    except IsoinitError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"build({width}) failed: {type(error).__name__}: {error}; give widths that the model can "
            "have, such as multiples of its number of heads"
        ) from error
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"build({width}) returned a {type(model).__name__}; expected a new torch.nn.Module"
        )
    return model
