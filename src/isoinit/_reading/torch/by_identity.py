"""What is known of tensors, by identity."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class ByIdentity(Generic[T]):
    """What is known of tensors, by identity.

    None of them is kept alive: a run under the recorder takes no more memory than it would without.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[weakref.ref[torch.Tensor], T]] = {}

    def __setitem__(self, tensor: torch.Tensor, what: T) -> None:
        self._held[id(tensor)] = (weakref.ref(tensor), what)

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return self.get(tensor) is not None

    def get(self, tensor: torch.Tensor) -> T | None:
        """What is known of a tensor: this very one, and none that was at its place before."""
        known = self._held.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None
