"""Products of a constant and a parameter, of which only their use tells what they are.

A basis times coefficients is a weight where it multiplies a signal, and a layer on a constant signal
elsewhere: features of positions, say. So such a product is recorded when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from isoinit._reading.torch.by_identity import ByIdentity
from isoinit._reading.torch.calls import MOVES, is_float
from isoinit._reading.torch.constants import Constant
from isoinit._reading.torch.dispatched import Told
from isoinit._reading.torch.made import FACTORED
from isoinit._reading.torch.readers.call import Weight
from isoinit._reading.torch.trees import tensors_in

# A product of two tensors with one of these, where the second may be a weight.
PRODUCTS = FACTORED | frozenset(
    """linear mv addmm baddbmm addbmm tensordot inner bilinear conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d convolution""".split()
)
SCALED = frozenset("mul div neg".split())


class Undecided:
    """The tensors made of constants and one parameter that were not used yet.

    Attributes:
        any: whether there has been one.
    """

    def __init__(self) -> None:
        self._calls: ByIdentity[list[tuple[Any, Told]]] = ByIdentity()
        self._signals: ByIdentity[bool] = ByIdentity()
        self.any = False

    def begins(
        self,
        name: str,
        tensors: Sequence[torch.Tensor],
        weights: Sequence[Weight],
        made: Sequence[torch.Tensor],
        constant: Callable[[Any], Constant | None],
    ) -> bool:
        """Return whether a call makes such a product, or rearranges or scales one.

        Args:
            name: the call's plain name.
            tensors: what it reads, none of it a signal.
            weights: what of it is made of parameters.
            made: its results.
            constant: what is known of a tensor, if it is a constant.
        """
        if len(weights) != 1 or len(made) != 1 or made[0] in self._signals:
            return False
        weight = weights[0]
        others = [tensor for tensor in tensors if tensor is not weight.tensor]
        if any(constant(tensor) is None for tensor in others):
            return False
        if weight.tensor in self._calls:
            return name in MOVES or name in SCALED
        matrices = all(is_float(tensor) and tensor.dim() > 1 for tensor in others)
        return name in FACTORED and weight.exact and len(others) == 1 and matrices

    def add(self, tensor: torch.Tensor, function: Any, told: Told) -> None:
        """Remember how a tensor was made; what works in place or changes nothing gives it again."""
        self._calls[tensor] = [*(self._calls.get(tensor) or ()), (function, told)]
        self.any = True

    def as_signals(
        self, tensors: Iterable[torch.Tensor]
    ) -> Sequence[tuple[Any, Told, torch.Tensor]]:
        """Return how those of some tensors were made that are signals, as is known now for good.

        Each comes after what it was made of.
        """
        return [*self._taken(tensors)] if self.any else ()

    def _taken(self, tensors: Iterable[torch.Tensor]) -> Iterator[tuple[Any, Told, torch.Tensor]]:
        for tensor in tensors:
            if (calls := self._calls.get(tensor)) is None:
                continue
            self._calls.forget(tensor)
            for function, told in calls:
                yield from self._taken(tensors_in((told.args, told.kwargs)))
                self._signals[tensor] = True
                yield function, told, tensor
