"""One forward of a model on weights that a plan draws, with nothing of the model changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch import recording
from isoinit._reading.torch.names import named_buffers
from isoinit._reading.torch.record import Observer, Recorder
from isoinit._system.private import tree_map

SEED = 0  # of a model's own random numbers, and of the weights that moments are measured with


@contextmanager
def running_with(
    drawn: Mapping[str, torch.Tensor],
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    batch: Any,
    observe: Observer | None = None,
) -> Iterator[tuple[nn.Module, Recorder]]:
    """Borrow a model to run it with other parameters, as `recording` does.

    Args:
        drawn: what it runs with in the place of its parameters and buffers, by name. Other parameters
            keep their values, of other buffers a copy is used.
        model: left as it was: parameters, buffers, mode and random numbers.
        parameters: its parameters, by name.
        batch: what it will be run on: `copied`, and left as it was where it cannot be.
        observe: called with each operation and the tensors that it made.
    """
    buffers = {name: b for name, b in named_buffers(model)[0].items() if name in drawn}
    names = {id(tensor): name for name, tensor in {**buffers, **parameters}.items()}

    def lend(tensor: torch.Tensor) -> torch.Tensor | None:
        if (name := names.get(id(tensor))) is not None:
            return drawn.get(name)
        return tensor.detach().clone()

    with recording(model, observe=observe, lend=lend, batch=batch) as borrowed, torch.no_grad():
        yield borrowed


def twin(parameter: nn.Parameter) -> nn.Parameter:
    """Return a parameter of the same values in memory of its own."""
    return nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)


def copied(tree: Any) -> Any:
    """Return a tree with copies of its tensors, since a forward may write into them."""

    def copy(item: Any) -> Any:
        if not isinstance(item, torch.Tensor):
            return item
        return item.detach().clone().requires_grad_(item.requires_grad)

    return tree_map(copy, tree)
