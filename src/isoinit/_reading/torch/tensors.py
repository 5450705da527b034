"""What a recorder knows of the tensors that it meets: signals, parameters, constants."""

from __future__ import annotations

from typing import Any

import torch

from isoinit._reading.torch.by_identity import ByIdentity
from isoinit._reading.torch.constants import Constant
from isoinit._reading.torch.numbers import shape_of
from isoinit._reading.torch.readers.call import Weight
from isoinit._reading.torch.readers.norms import STARTING_SLOPE


class Tensors:
    """What is known of tensors; a signal is that alone, whatever it was before.

    Attributes:
        values: the numbers of those that hold signal.
        weights: how those are made that are made of parameters.
        constants: what is known of the others.
        count: how many numbers were given.
        sizes: the shape of each value.
    """

    def __init__(self) -> None:
        self.values: ByIdentity[int] = ByIdentity()
        self.weights: ByIdentity[Weight] = ByIdentity()
        self.constants: ByIdentity[Constant] = ByIdentity()
        self.count = 0
        self.sizes: dict[int, tuple[int, ...]] = {}

    def number(self) -> int:
        """Return the number of a value that no tensor holds."""
        self.count += 1
        return self.count - 1

    def new(self, tensor: torch.Tensor) -> int:
        """Return a new number, for a tensor that holds signal from now on."""
        value = self.values[tensor] = self.number()
        self.sizes[value] = shape_of(tensor)
        return value

    def value(self, tensor: Any) -> int | None:
        """Return the number of the value that a tensor holds; None for constants and parameters."""
        return self.values.get(tensor) if isinstance(tensor, torch.Tensor) else None

    def weight(self, tensor: Any) -> Weight | None:
        """Return how a tensor is made of parameters; None for others."""
        if not isinstance(tensor, torch.Tensor) or tensor in self.values:
            return None
        return self.weights.get(tensor)

    def names(self, tensor: Any) -> tuple[str, ...]:
        """Return the parameters that a tensor was made of without the signal; () for others."""
        weight = self.weight(tensor)
        return weight.names if weight else ()

    def constant(self, tensor: Any) -> Constant | None:
        """Return what is known of a constant; None for others."""
        plain = isinstance(tensor, torch.Tensor)
        if not plain or tensor in self.values or tensor in self.weights:
            return None
        return self.constants.get(tensor) or Constant(tensor)

    def at_start(self, tensor: Any) -> Constant | None:
        """Return the same, with the slope that it starts at in the place of a parameter."""
        return self.constant(tensor) if self.weight(tensor) is None else Constant(STARTING_SLOPE)

    def met(self, tensor: torch.Tensor) -> int | Weight | Constant | None:
        """Return what is known of a tensor; None where nothing shows where it came from."""
        if (value := self.values.get(tensor)) is not None:
            return value
        return self.weights.get(tensor) or self.constants.get(tensor)
