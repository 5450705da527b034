"""Recorded torch calls, made once more: on arrays, or with other tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from isoinit._reading.graph import Array, Replay, elementwise
from isoinit._reading.torch.calls import function_name
from isoinit._reading.torch.trees import map_leaves, map_tensors


class Recorded(NamedTuple):
    """A call of a torch function, as it was made."""

    function: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def again(self, other: Callable[[Any], Any]) -> Any:
        """Make the call once more, with what `other` gives for each leaf of its arguments."""
        args, kwargs = map_leaves(other, (list(self.args), dict(self.kwargs)))
        return self.function(*args, **kwargs)


@dataclass(frozen=True)
class _Placeholder:
    """Stands for an input in a recorded call."""

    position: int


@dataclass(frozen=True)
class Replayed:
    """A recorded call as a function of arrays, and the gradient of that function.

    Attributes:
        template: the call, with placeholders where the arrays go.
    """

    template: Recorded

    def __call__(self, arrays: Sequence[Array]) -> Array:
        """Return what the call makes of arrays."""
        with torch.no_grad():
            array = self._run([torch.from_numpy(array.copy()) for array in arrays]).numpy()
        return array if array.dtype == np.bool_ else np.asarray(array, np.float64)

    def pull(self, arrays: Sequence[Array], gradient: Array) -> list[Array]:
        """Return the gradient by each array, given that by the result: torch's own, by autograd.

        A jump, and what does not depend on an array differentiably, gives zeros.
        """
        if (sign := self._sign) is not None:
            return [gradient, sign * gradient]
        leaves = [torch.from_numpy(array).requires_grad_() for array in arrays]
        with torch.enable_grad():
            result = self._run([leaf * 1 for leaf in leaves])  # the call may be in place
        if not result.requires_grad:
            return [np.zeros_like(array) for array in arrays]
        sent = torch.from_numpy(gradient).to(result.dtype)
        found = torch.autograd.grad(result, leaves, sent, materialize_grads=True)
        return [pulled.numpy() for pulled in found]

    @cached_property
    def _sign(self) -> float | None:
        """Of a plain sum or difference of two arrays, the sign of the second; None for the rest."""
        function, args, kwargs = self.template
        places = [leaf.position for leaf in args if isinstance(leaf, _Placeholder)]
        plain = places == [0, 1] and len(args) == 2 and not kwargs
        return {"add": 1.0, "sub": -1.0}.get(function_name(function)) if plain else None

    def _run(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        def given(leaf: Any) -> Any:
            return tensors[leaf.position] if isinstance(leaf, _Placeholder) else leaf

        with torch.device("cpu"):  # whatever device the caller has set
            result: torch.Tensor = self.template.again(given)
        return result


def replay_of(call: Recorded, number_of: Callable[[torch.Tensor], int | None]) -> Replayed | None:
    """Return a call as a function of arrays; None if it reads a tensor that is no plain number.

    Args:
        call: the call; none of its tensors is kept.
        number_of: the number of a tensor that an array will stand for; None for a constant.
    """
    inputs: list[int] = []

    def held(tensor: torch.Tensor) -> _Placeholder | float:
        value = number_of(tensor)
        if value is None:
            return _plain_number(tensor)
        if value not in inputs:
            inputs.append(value)
        return _Placeholder(inputs.index(value))

    try:
        args, kwargs = map_tensors(held, (list(call.args), dict(call.kwargs)))
    except (TypeError, ValueError):
        return None
    return Replayed(Recorded(call.function, args, kwargs))


def composed(
    before: Callable[[Array], Array] | None, replay: Replay | None
) -> Callable[[Array], Array] | None:
    """Return a function of a parameter's elements with one more step; None if not elementwise.

    Args:
        before: the function so far; None where there is none.
        replay: the step; None where it cannot be replayed.
    """
    if replay is None:
        return None

    def function(elements: Array) -> Array:
        return replay([elements if before is None else before(elements)])

    few = np.linspace(-2.0, 2.0, 6)
    with unset_fake_temporarily():
        found = elementwise(lambda rows: function(rows[0]), [few], [slice(3)], rtol=0, atol=0)
    return None if found is None else function


def _plain_number(tensor: torch.Tensor) -> float:
    if tensor.numel() != 1 or tensor.device.type == "meta":
        raise ValueError("not a plain number")
    constant = getattr(tensor, "constant", tensor)  # fake tensors keep the value of small constants
    if constant is None:
        raise ValueError("a fake tensor without a value")
    return float(constant.item())
