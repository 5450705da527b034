"""The result of a check: findings and numbers, as text, JSON, a page, or a log of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from isoinit._reading.outline import Outline
from isoinit._showing.findings import SEVERITIES, Finding, Verdict
from isoinit._showing.page import Page, Shown
from isoinit._showing.terminal import Printed, Tabled, counted
from isoinit._showing.writers import Shot, write
from isoinit._verifying.health.differences import HealthDifferences
from isoinit._verifying.health.pages import health_page
from isoinit._verifying.health.records import (
    LayerHealth,
    WeightHealth,
    backward_signal,
    forward_signal,
)
from isoinit._verifying.health.table import table
from isoinit.errors import ArgumentError

OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class Health(Tabled, Shown, Verdict):
    """The measurements and findings of a check.

    Attributes:
        findings: errors first, then warnings; empty for a model without problems.
        layers: the signal at each layer, in the order of execution.
        weights: every parameter: its scale, its effective rank, its gradient, its first step.
        loss: the loss at initialization; None if the gradient at the output was random.
        chance: the loss of guessing, ln C; None if the loss is not a mean cross-entropy over classes.
        jacobian: singular values of the input–output Jacobian, largest first; empty by default.
        kinds: the kind of each layer by name: the role of its weight.
        outline: the model's class and the order of its layers, which the page draws.
    """

    findings: list[Finding]
    layers: list[LayerHealth]
    weights: list[WeightHealth]
    loss: float | None
    chance: float | None
    jacobian: tuple[float, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    outline: Outline | None = field(default=None, repr=False, compare=False)

    @property
    def forward(self) -> list[float | None]:
        """The signal by depth: how much each layer's output differs between examples.

        For a batch of one example it is the size of the output. None if not known.
        """
        return forward_signal(self.layers)

    @property
    def backward(self) -> list[float | None]:
        """The size of the gradient at each layer's output; None without a gradient."""
        return backward_signal(self.layers)

    def to_json(self) -> str:
        """Return the check as JSON. Numbers that are not finite become null."""
        return self._json(
            loss=self.loss,
            chance=self.chance,
            layers=[asdict(layer) for layer in self.layers],
            weights=[_without(asdict(weight), "histogram") for weight in self.weights],
            jacobian=self.jacobian,
        )

    def _page(self) -> Page:
        facts = []
        if self.loss is not None:
            level = "" if self.chance is None else f" (chance: {self.chance:.4g})"
            facts.append(("loss", f"{self.loss:.4g}{level}"))
        return health_page(self, self.layers, self.weights, self.kinds, self.outline, facts)

    def diff(self, other: Health) -> HealthDifferences:
        """Return this check beside another one, such as that of the model after a change.

        Print it for a table; `to_html` draws both on the same charts, old and new values side by
        side.

        Args:
            other: the later check.

        Raises:
            ArgumentError: if `other` is no check.
        """
        if not isinstance(other, Health):
            raise ArgumentError(
                f"other is a {type(other).__name__}; expected the result of isoinit.check"
            )
        return HealthDifferences(self, other)

    def log(self, writer: Any, step: int = 0, *, run_id: str | None = None) -> None:
        """Write the check to a run of TensorBoard, Weights & Biases or MLflow.

        All get the numbers of errors and warnings, the loss, the findings, and each number of a layer
        as a curve by depth. W&B and MLflow also get a table of the layers and the page of `to_html`.

        Args:
            writer: a `torch.utils.tensorboard.SummaryWriter`, a run of `wandb`, the module `mlflow`,
                an `MlflowClient`, or an object with the same methods.
            step: the training step; 0 is initialization. W&B drops a step before its current one.
            run_id: the run, for an `MlflowClient`; by default that of the module `mlflow`.

        Raises:
            ArgumentError: for another writer, or an `MlflowClient` without `run_id`.
        """
        shot = Shot(self.findings, self.layers, self.loss, self.to_html)
        write(writer, shot, step, run_id)

    def show(self, *, verbose: bool = False) -> Printed:
        """Return the check as a table: one row for each kind of layer, and the findings below.

        Layers are of one kind if their names differ only in numbers (`h.0…11.attn`) and their weights
        have the same role. A row shows the smallest, the median and the largest value of a kind over
        depth, a curve by depth, and the worst of the other values. A narrow terminal has no room for
        ranks or medians. With more than 24 kinds, those that findings name come first.

        Args:
            verbose: whether to show one row for every layer.

        Returns:
            Text, no wider than the terminal. `print(health)` prints the same text.

        Example:
            >>> import isoinit, torch
            >>> model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(20)])
            >>> batch = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
            >>> _ = isoinit.init(model, batch, seed=0)
            >>> health = isoinit.check(model, batch)
            >>> health
            <Health: healthy, 20 layers>
            >>> len(health.show().splitlines()) < len(health.show(verbose=True).splitlines())
            True
        """
        verdict = "healthy" if self.ok else "unhealthy"
        through = counted(len(self.layers), "layer")
        title = f"{verdict}: the signal through {through}{self._summary()}"
        return table(title, self.layers, self.kinds, self.findings, verbose)

    def __repr__(self) -> str:
        counts = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        parts = [counted(len(self.layers), "layer")]
        parts += [counted(count, severity) for severity, count in counts.items() if count]
        return f"<Health: {', '.join(['healthy' if self.ok else 'unhealthy', *parts])}>"

    def _summary(self) -> str:
        parts = []
        if self.loss is not None:
            level = "" if self.chance is None else f" (chance: {self.chance:.4g})"
            parts.append(f"loss {self.loss:.4g}{level}")
        if self.jacobian:
            low, middle, high = (self.jacobian[i] for i in (-1, len(self.jacobian) // 2, 0))
            parts.append(f"Jacobian {low:.3g} to {high:.3g}, median {middle:.3g}")
        return "".join(f"; {part}" for part in parts)


def _without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


def refuse_optimizer(optimizer: str, lr: float | None) -> None:
    """Raise `ArgumentError` for an unknown optimizer, or a learning rate that makes no step."""
    if lr is not None and not 0 < lr < math.inf:
        raise ArgumentError(f"lr={lr!r}: expected a finite learning rate above 0")
    if optimizer not in OPTIMIZERS:
        raise ArgumentError(f"optimizer={optimizer!r}: expected {' or '.join(OPTIMIZERS)}")
