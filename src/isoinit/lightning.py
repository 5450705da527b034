"""A callback for Lightning that checks the model on the first batch, before the first step."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from isoinit._showing.writers import can_write
from isoinit._verifying.first_batch import check_step, drop, judge, lent
from isoinit._verifying.health.results import Health
from isoinit.errors import ArgumentError

if TYPE_CHECKING or ("pytorch_lightning" in sys.modules and "lightning" not in sys.modules):
    from pytorch_lightning import Callback, LightningModule, Trainer
elif find_spec("lightning"):  # the same code under its other name; each Trainer takes either's
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    from pytorch_lightning import Callback, LightningModule, Trainer


class HealthCheck(Callback):
    """Check a model on the first batch of a fit, and stop the fit if the model is unhealthy.

    The check runs the model's own `training_step`, with the Trainer's precision, on the first batch.
    No loader runs twice, the random generators are restored, and logs of the step are dropped. A fit
    that continues from a checkpoint is not checked. On several ranks (DDP) each checks its own batch,
    and what one finds, all find: they stop together.

    Args:
        fail: whether an unhealthy model raises an error; otherwise each finding is a warning.
        strict: whether warnings also fail.

    Attributes:
        health: the check; None before the first batch. It is also written to the Trainer's
            loggers: TensorBoard, W&B, MLflow.

    Raises:
        UnhealthyError: from `Trainer.fit`, if the check found an error.
        RankError: from `Trainer.fit`, if the check failed on another rank.
        ArgumentError: from `Trainer.fit`, for a model with manual optimization, whose training step
            also changes the weights.

    Example:
        >>> from isoinit.lightning import HealthCheck
        >>> from pytorch_lightning import Trainer
        >>> trainer = Trainer(accelerator="cpu", logger=False, callbacks=[HealthCheck()])
    """

    def __init__(self, *, fail: bool = True, strict: bool = False) -> None:
        self.fail, self.strict = fail, strict
        self.health: Health | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise for a model whose training step changes the weights."""
        if not pl_module.automatic_optimization:
            raise ArgumentError(
                f"{type(pl_module).__name__} uses manual optimization, so its training_step "
                "changes the weights. Call isoinit.check(model, batch, loss=...) before "
                "trainer.fit instead"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Check the model before the first step."""
        if trainer.global_step or batch_idx:
            return
        takes = len(inspect.signature(pl_module.training_step).parameters)

        def step(*args: Any) -> torch.Tensor:
            return _loss(pl_module.training_step(*args[:takes]))

        with lent(pl_module, log=drop), trainer.precision_plugin.train_step_context():
            self.health = check_step(pl_module, step, (batch, 0))
        for logger in trainer.loggers:
            writer = getattr(logger, "experiment", None)
            if can_write(writer):
                self.health.log(writer, run_id=getattr(logger, "run_id", None))
        judge(self.health, fail=self.fail, strict=self.strict)


def _loss(output: Any) -> torch.Tensor:
    """The loss in what a training step may return."""
    loss: torch.Tensor = output["loss"] if isinstance(output, Mapping) else output
    return loss
