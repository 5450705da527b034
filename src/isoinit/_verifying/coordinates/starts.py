"""How a model of some width starts, and what trains it: by a transfer, without, or your own way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from isoinit._planning.plan import Plan
from isoinit._planning.transfer.rules import ADJUSTED, Rules
from isoinit._planning.transfer.transfers import Transfer
from isoinit._planning.transfer.verb import built, transfer
from isoinit._planning.verbs import plan
from isoinit._system.signals import call_user
from isoinit._verifying.comparing.torch.training import Stepped
from isoinit.errors import ArgumentError

Parametrization = str | Callable[[nn.Module, int, int], Any]
"""One of `PARAMETRIZATIONS`, or a function of a model, its width and a seed.

The function initializes the model in place, and returns an optimizer, or groups for one.
"""

PARAMETRIZATIONS = ("transfer", "standard")
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}
MOMENTUM = 0.9  # of SGD


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
    _plans: dict[int, Plan] = field(default_factory=dict)

    def refuse(self, widths: Sequence[int]) -> None:
        """Raise `ArgumentError` if models of these widths cannot be started and trained so."""
        if not 0 < self.lr < math.inf:
            raise ArgumentError(f"lr={self.lr!r}: expected a learning rate, finite and above 0")
        Rules(self.optimizer)
        own = callable(self.parametrization)
        if not own and self.parametrization not in PARAMETRIZATIONS:
            known = " or ".join(map(repr, PARAMETRIZATIONS))
            raise ArgumentError(
                f"parametrization={self.parametrization!r}: expected {known}, or a function "
                "(model, width, seed) that initializes the model and returns groups for an "
                "optimizer"
            )
        if self.optimizer in ADJUSTED and self.parametrization == "standard":
            raise ArgumentError(
                f"optimizer={self.optimizer!r} trains only some of the parameters, and a standard "
                "parametrization does not define which. Pass a function that returns the optimizer"
            )
        if not own and (not isinstance(self.base, int) or self.base < 1):
            raise ArgumentError(f"base={self.base!r}: expected a width of the model")
        if not own and self.base > widths[0]:
            raise ArgumentError(
                f"base={self.base} is larger than width {widths[0]} of widths={tuple(widths)}. "
                "Settings are transferred from small to large, so use a base of at most this width"
            )

    def begin(self, width: int, seed: int) -> tuple[nn.Module, Stepped]:
        """Return a new model, initialized under a seed, and what trains it."""
        model = built(self.build, width)
        if callable(self.parametrization):
            groups = call_user(self.parametrization, model, width, seed)
            if callable(getattr(groups, "step", None)):
                return model, groups
        elif self.parametrization == "standard":
            self._plan(width, model).apply(model, seed)
            groups = [p for p in model.parameters() if p.requires_grad]
        else:
            transferred = self._transfer(width, model)
            transferred.plan.apply(model, seed)
            if self.optimizer in ADJUSTED:
                return model, _with_muon(model, transferred, self.lr)
            groups = transferred.groups(model, lr=self.lr)
        given = {"momentum": MOMENTUM} if self.optimizer == "sgd" else {}
        return model, OPTIMIZERS[self.optimizer](groups, lr=self.lr, weight_decay=0.0, **given)

    def _plan(self, width: int, model: nn.Module) -> Plan:
        """The plan of a width: made once, for the first model."""
        if width not in self._plans:
            self._plans[width] = plan(model, self.batch)
        return self._plans[width]

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


class _Together:
    """Several optimizers that step as one."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Change the parameters."""
        for optimizer in self.optimizers:
            optimizer.step()


def _with_muon(model: nn.Module, transferred: Transfer, lr: float) -> _Together:
    """Muon for hidden matrices, and AdamW for the rest."""
    hidden = transferred.groups(model, lr=lr, eps=1e-7, optimizer="muon")
    others = transferred.groups(model, lr=lr, optimizer="adamw")
    found: list[torch.optim.Optimizer] = [torch.optim.Muon(hidden)] if hidden else []
    return _Together(found + [torch.optim.AdamW(others)] * bool(others))
