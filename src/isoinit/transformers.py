"""A callback for the `Trainer` of Transformers that checks the model before the first step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from isoinit._reading.torch import unwrap
from isoinit._verifying.auditing.audits import Audit, audit
from isoinit._verifying.first_batch import check_step, drop, judge, lent, put_back
from isoinit._verifying.health.results import Health
from isoinit.errors import ArgumentError


class HealthCheck(TrainerCallback):
    """Check a model on the first batch of a training, and stop if the model is unhealthy.

    The check runs the Trainer's own `compute_loss` on the first batch: with its labels, its precision
    and its loss function, on the device where the batch was put. Training then continues as without
    the callback, to the last bit. A training that is resumed from a checkpoint is not checked. On
    several ranks (DDP) each checks its own batch, and what one finds, all find: they stop together.

    Args:
        trainer: the Trainer that gets the callback: the events of callbacks do not name it.
        build: a function that builds the model anew, perhaps a small one, such as
            `lambda: LlamaForCausalLM(config)`. Its own initialization is then audited before the
            training: see `isoinit.audit`, which says how much memory that takes. None audits nothing.
        fail: whether an unhealthy model raises an error; otherwise each finding is a warning.
        strict: whether warnings also fail.

    Attributes:
        health: the check; None before the first batch. `health.log(wandb.run)` writes it to a run.
        audit: the audit; None before it, or without `build`.

    Raises:
        UnhealthyError: from `Trainer.train`, if the check or the audit found an error.
        RankError: from `Trainer.train`, if the check failed on another rank.
        ArgumentError: from `Trainer.train`, for a model that FSDP or DeepSpeed shards.

    Example:
        >>> from isoinit.transformers import HealthCheck
        >>> from transformers import Trainer, TrainingArguments
        >>> options = TrainingArguments(report_to="none", use_cpu=True)
        >>> trainer = Trainer(torch.nn.Linear(3, 2), options)
        >>> trainer.add_callback(HealthCheck(trainer))
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        build: Callable[[], nn.Module] | None = None,
        fail: bool = True,
        strict: bool = False,
    ) -> None:
        if not isinstance(trainer, Trainer):
            raise ArgumentError(
                f"trainer is a {type(trainer).__name__}; expected the transformers.Trainer that gets "
                "this callback: trainer.add_callback(HealthCheck(trainer))"
            )
        self.trainer, self.build, self.fail, self.strict = trainer, build, fail, strict
        self._waiting = ExitStack()  # for the first loss
        self.health: Health | None = None
        self.audit: Audit | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Audit the initialization of the model, if that was asked for."""
        if state.global_step:
            return
        if self.trainer.is_fsdp_enabled or self.trainer.is_deepspeed_enabled:
            raise ArgumentError(
                "the Trainer shards its model by FSDP or DeepSpeed, which this callback cannot check: "
                "call isoinit.check(model, batch) before Trainer.train instead"
            )
        if self.build is not None:
            self.audit = audit(self.build)
            judge(self.audit, fail=self.fail, strict=self.strict)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Have the first loss of the training checked before it is computed."""
        if state.global_step:
            return
        self._waiting.close()  # of a training that failed before its first loss
        compute = self.trainer.compute_loss

        def first(model: nn.Module, inputs: dict[str, Any], *rest: Any, **options: Any) -> Any:
            self._waiting.close()
            self._check(model, inputs)
            return compute(model, inputs, *rest, **options)

        self._waiting.enter_context(lent(self.trainer, compute_loss=first))

    def _check(self, model: nn.Module, inputs: dict[str, Any]) -> None:
        trainer, inner = self.trainer, unwrap(model)

        def step(batch: dict[str, Any]) -> torch.Tensor:
            # Where batches are accumulated the Trainer computes a part of the mean; here it is whole.
            count = None
            if trainer.compute_loss_func is not None:  # which may not take None
                _, count = trainer.get_batch_samples(iter([batch]), 1, trainer.args.device)
            loss = trainer.compute_loss(inner, dict(batch), num_items_in_batch=count)
            assert isinstance(loss, torch.Tensor), "outputs were not asked for"
            return loss

        data = (trainer.train_dataset, trainer.eval_dataset)
        with put_back(trainer, but=data), lent(trainer, log=drop):
            self.health = check_step(inner, step, (inputs,))
        judge(self.health, fail=self.fail, strict=self.strict)
