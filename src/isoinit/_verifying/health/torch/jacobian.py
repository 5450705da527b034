"""The singular values of a model's input–output Jacobian: dynamical isometry, measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vjp, vmap

from isoinit._reading.torch import as_arguments, explained, recording
from isoinit._reading.torch.numbers import doubled
from isoinit._reading.torch.trees import map_tensors, tensors_in
from isoinit.errors import ArgumentError

LARGEST = 2**24  # numbers in the Jacobian: 64 MiB, and a minute for its singular values
ROWS = 64  # worked out at a time


def singular_values(model: nn.Module, batch: Any) -> tuple[float, ...]:
    """The singular values of the Jacobian of the first example's output by that example, in order.

    All of them are near one in a network with dynamical isometry (Saxe et al. 2014; Pennington et
    al. 2017): then every direction of the input arrives, and every direction of the gradient.

    Args:
        model: left as it was.
        batch: an example, whose first floating-point tensor is the input that is varied; the other
            examples in it stay as they are, for a batch norm to have its batch.

    Raises:
        ArgumentError: if the batch holds no floating-point tensor, the Jacobian has more than 2²⁴
            numbers, or the model returns no floating-point tensor.
        TraceError: if the forward fails.
    """
    args, kwargs = as_arguments(batch)
    inputs = [t for t in tensors_in((args, kwargs)) if _can_vary(t)]
    if not inputs:
        raise ArgumentError(
            "jacobian=True, but the batch holds no dense floating-point tensor of examples to "
            "differentiate by. Pass embedded inputs (inputs_embeds) instead of tokens"
        )
    given = inputs[0].detach()

    with recording(model, batch=(args, kwargs)) as (inner, _), torch.enable_grad():

        def first(example: torch.Tensor) -> torch.Tensor:
            whole = torch.cat([example[None], given[1:]])
            swapped = map_tensors(lambda t: whole if t is inputs[0] else t, (args, kwargs))
            buffers = {name: buffer.clone() for name, buffer in inner.named_buffers()}
            made = functional_call(inner, buffers, *swapped)
            output = next((t for t in tensors_in(made) if t.is_floating_point() and t.dim()), None)
            if output is None:
                raise ArgumentError(
                    "jacobian=True, but the model returns no floating-point tensor with examples "
                    "along its first axis"
                )
            return (output[0] if len(output) == len(given) else output).flatten()

        try:
            matrix = _jacobian(first, given[0])
        except ArgumentError:
            raise
        except Exception as failure:
            try:  # sparse products have a gradient, and no rule for many at a time
                matrix = _row_by_row(first, given[0])
            except Exception:
                raise explained(failure, "under torch.func", model, batch) from failure
    values = torch.linalg.svdvals(doubled(matrix.detach()))
    return tuple(value for value in values.tolist() if math.isfinite(value))


def _can_vary(tensor: torch.Tensor) -> bool:
    """Return whether a tensor holds examples along its first axis, as dense real numbers."""
    dense = tensor.layout in (torch.strided, torch.jagged)
    return dense and tensor.is_floating_point() and tensor.dim() > 0 and len(tensor) > 0


def _jacobian(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    """Return the Jacobian of a function to a vector, many rows at a time."""
    output, back = vjp(function, at.clone())[:2]
    rows = _unit_rows(output, at)
    return torch.cat([vmap(back)(part)[0].reshape(len(part), -1) for part in rows.split(ROWS)])


def _row_by_row(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    """Return the Jacobian of a function to a vector by one backward pass for each of its elements."""
    given = at.clone().requires_grad_()
    output = function(given)
    rows = _unit_rows(output, at)
    found = [torch.autograd.grad(output, given, row, retain_graph=True)[0] for row in rows]
    return torch.stack(found).reshape(len(found), -1)


def _unit_rows(output: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Return the gradients to send back from an output.

    Raises:
        ArgumentError: if the Jacobian is too large.
    """
    if output.numel() * at.numel() > LARGEST:
        raise ArgumentError(
            f"jacobian=True, but the Jacobian of {output.numel():,} outputs by {at.numel():,} "
            f"inputs has more than {LARGEST:,} numbers. Pass a smaller example, or jacobian=False"
        )
    return torch.eye(output.numel(), dtype=output.dtype, device=output.device)
