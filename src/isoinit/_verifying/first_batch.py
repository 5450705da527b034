"""What callbacks of trainers share: a check by the training's own step, on its first batch.

The step is run as the forward of the model. An adapter around the model would put a part of its own
in front of every parameter's name.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch.containers import containers
from isoinit._showing.findings import Verdict
from isoinit._system.processes import together
from isoinit._verifying.any_rank import found_on_any_rank
from isoinit._verifying.health.results import Health
from isoinit._verifying.health.torch.checks import check
from isoinit.errors import IsoinitWarning


def check_step(
    model: nn.Module, step: Callable[..., torch.Tensor], batch: tuple[Any, ...]
) -> Health:
    """Check a model by a step of its training; what any rank finds, all find.

    Args:
        model: without a wrapper that communicates, such as DDP: ranks are checked each on its batch.
        step: takes the parts of the batch, calls the model and returns the loss.
        batch: the arguments of the step.

    Raises:
        IsoinitError: as `isoinit.check` does.
        RankError: if the check failed on another rank.
    """
    forward = model.forward

    def once(*args: Any) -> torch.Tensor:
        with lent(model, forward=forward):  # the step's own calls of the model run its forward
            return step(*args)

    with together("the check of the first batch"), lent(model, forward=once):
        health = check(model, batch, loss=_itself)
    return replace(health, findings=found_on_any_rank(health.findings))


def judge(found: Verdict, *, fail: bool, strict: bool) -> None:
    """Raise for what fails, or warn of every finding.

    Args:
        found: a check or an audit.
        fail: whether to raise.
        strict: whether warnings fail, too.

    Raises:
        UnhealthyError: as asked.
    """
    if fail:
        found.raise_if_unhealthy(strict=strict)
        return
    for finding in found.findings:
        warnings.warn(str(finding), IsoinitWarning, stacklevel=3)


@contextmanager
def lent(owner: Any, **attributes: Any) -> Iterator[None]:
    """Give an object other attributes for the block, past what its class does when they are set."""
    held = vars(owner)
    before = {name: held[name] for name in attributes if name in held}
    held.update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            held.pop(name, None)
        held.update(before)


@contextmanager
def put_back(owner: Any, but: tuple[Any, ...] = ()) -> Iterator[None]:
    """Undo at the end what the block does to an object's attributes, lists and dicts.

    Args:
        owner: any object, such as a trainer that counts and collects in its step.
        but: attributes that are not looked into, such as data.
    """
    inside = [value for value in vars(owner).values() if not any(value is one for one in but)]
    kinds = (dict, list, set)
    held = containers(value for value in inside if isinstance(value, kinds))
    before = dict(vars(owner))
    try:
        yield
    finally:
        vars(owner).clear()
        vars(owner).update(before)
        for container in held:
            container.restore()


def drop(*_: Any, **__: Any) -> None:
    """Do nothing, in place of `log`: what a check measures is no part of the run's curves."""


def _itself(output: torch.Tensor) -> torch.Tensor:
    """The loss that a step returned."""
    return output
