"""Whether parameters have any influence on the loss, tried by changing them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch import as_arguments, recording
from isoinit._reading.torch.rng import generators_kept, seed_generators
from isoinit._reading.torch.trees import tensors_in
from isoinit._system.signals import call_user
from isoinit._verifying.health.torch.ahead import restored
from isoinit._verifying.losses import Loss
from isoinit._verifying.targets import own_loss


def has_influence(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    batch: Any,
    loss: Loss | None,
    names: Collection[str],
) -> bool:
    """Return whether the loss, or any output where there is none, changes with some parameters.

    Two forward passes on the batch, with the same random numbers.

    Args:
        model: as before at the end.
        parameters: its parameters, by name.
        batch: an example.
        loss: as for a check.
        names: of the parameters that are changed, all at once.
    """
    with restored(parameters), generators_kept():
        seed_generators(0)
        before = _seen(model, batch, loss)
        with torch.no_grad():
            for name in names:
                size = parameters[name].detach().square().mean().sqrt() + 1
                parameters[name].add_(torch.randn_like(parameters[name]) * size)
        seed_generators(0)
        after = _seen(model, batch, loss)
    if len(before) != len(after):
        return True
    pairs = zip(before, after, strict=True)
    return any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs)


def _seen(model: nn.Module, batch: Any, loss: Loss | None) -> list[torch.Tensor]:
    """What the loss comes to, or else what the model returns."""
    args, kwargs = as_arguments(batch)
    with recording(model, batch=(args, kwargs)) as (inner, _), torch.inference_mode(False):
        output = call_user(inner, *args, **kwargs)
        found = own_loss(output) if loss is None else loss(output)
        seen = output if found is None else found
        return [tensor.detach().clone() for tensor in tensors_in(seen)]
