"""A callback for Lightning that checks the model on the first batch, before the first step."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from isoinit._verifying.health.results import Health
from isoinit._verifying.health.torch.checks import check
from isoinit.errors import ArgumentError, IsoinitWarning

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
    that continues from a checkpoint is not checked.

    Args:
        fail: whether an unhealthy model raises an error; otherwise each finding is a warning.
        strict: whether warnings also fail.

    Attributes:
        health: the check; None before the first batch. It is also written to TensorBoard if the
            Trainer logs there.

    Raises:
        UnhealthyError: from `Trainer.fit`, if the check found an error.
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
        with (
            _forward_is_the_training_step(pl_module),
            trainer.precision_plugin.train_step_context(),
        ):
            self.health = check(pl_module, (batch, 0), loss=_loss)
        for logger in trainer.loggers:
            writer = getattr(logger, "experiment", None)
            if hasattr(writer, "add_scalar"):
                self.health.log(writer)
        self._judge(trainer, self.health)

    def _judge(self, trainer: Trainer, health: Health) -> None:
        if not self.fail:
            for finding in health.findings:
                warnings.warn(str(finding), IsoinitWarning, stacklevel=2)
            return
        health.raise_if_unhealthy(strict=self.strict)


@contextmanager
def _forward_is_the_training_step(module: LightningModule) -> Iterator[None]:
    """Calling the module runs its training step, and the step's own calls its forward.

    Lightning's strategies lead a step through a wrapper in this way (`_ForwardRedirection`). An
    adapter around the module would put a part of its own in front of every parameter's name.
    """
    before, forward = dict(vars(module)), module.forward
    takes = len(inspect.signature(module.training_step).parameters)

    def step(*args: Any) -> Any:
        vars(module)["forward"] = forward
        try:
            return module.training_step(*args[:takes])
        finally:
            vars(module)["forward"] = step

    vars(module).update(forward=step, log=_drop)
    try:
        yield
    finally:
        for name in ("forward", "log"):
            vars(module).pop(name)
            vars(module).update({name: before[name]} if name in before else {})


def _drop(*_: Any, **__: Any) -> None:
    """In place of `log`: what a check measures is no part of the run's curves."""


def _loss(output: Any) -> torch.Tensor:
    """The loss in what a training step may return."""
    loss: torch.Tensor = output["loss"] if isinstance(output, Mapping) else output
    return loss
