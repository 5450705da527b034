"""What a caller gives as `loss`: a function of the output, or one of the output and the targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch.names import unwrap
from isoinit._verifying.targets import called, needed, without_targets
from isoinit.errors import ArgumentError

Loss = Callable[[Any], torch.Tensor]
GivenLoss = Callable[..., torch.Tensor]


def inputs_and_loss(batch: Any, loss: GivenLoss | None) -> tuple[Any, Loss | None]:
    """Return what the model takes of a batch, and the loss as a function of its output alone.

    A loss that needs two arguments gets the output and the second part of a batch `(inputs, targets)`;
    the model gets the first. Any other loss, and one that does not tell what it takes, gets the output
    alone, and the model the whole batch. Arguments with defaults do not count.

    Args:
        batch: as for `isoinit.check`; the inputs of a pair may be a tuple or a mapping of arguments.
        loss: a function, a module such as `torch.nn.CrossEntropyLoss()`, or None.

    Raises:
        ArgumentError: if the loss cannot be called so; it says how to give the targets.

    Example:
        >>> import torch
        >>> x, y = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
        >>> inputs, loss = inputs_and_loss((x, y), torch.nn.CrossEntropyLoss())
        >>> inputs is x, loss(torch.zeros(4, 3)).item() == torch.tensor(3.0).log().item()
        (True, True)
    """
    if loss is None:
        return batch, None
    if isinstance(loss, type) or not callable(loss):
        raise ArgumentError(_no_function(loss))
    takes = needed(unwrap(loss).forward if isinstance(loss, nn.Module) else loss)
    name = f"{type(loss).__name__}()" if isinstance(loss, nn.Module) else _name(loss)
    return without_targets(batch, loss, takes, name, _call(loss, [p.name for p in takes]))


def _no_function(loss: Any) -> str:
    """What to give instead of a name, a class or anything else that is no function."""
    if isinstance(loss, type):
        said, better = f"loss is the class {loss.__name__}", f"an instance, loss={loss.__name__}(),"
    else:
        known = isinstance(loss, str) and callable(getattr(nn.functional, loss, None))
        name = loss if known else "cross_entropy"
        said = f"loss={loss!r} is a {type(loss).__name__}"
        if isinstance(loss, torch.Tensor):
            said = "loss is a tensor"
        better = f"a function, loss=torch.nn.functional.{name},"
        loss = getattr(nn.functional, name)
    return (
        f"{said}; expected {better} with the batch as a pair (inputs, targets), or a function of the "
        f"model's output only, loss=lambda output: {_call(loss, ['output', 'targets'])}"
    )


def _call(loss: Any, names: list[str]) -> str:
    """How a loss is called on an output, in words."""
    if isinstance(loss, (nn.Module, type)):
        kind = loss if isinstance(loss, type) else type(loss)
        return called(f"{kind.__name__}()", names)
    return called(_name(loss), names)


def _name(loss: Any) -> str:
    """What a function goes by."""
    name = str(getattr(loss, "__name__", type(loss).__name__))
    if getattr(nn.functional, name, None) is loss:
        return f"torch.nn.functional.{name}"
    return "your_loss" if name == "<lambda>" else name
