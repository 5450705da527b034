"""Which tensors share memory: what is written into one of them, all of them hold."""

from __future__ import annotations

import weakref

import torch


class Sharers:
    """The views of each tensor that were made so far; none of them is kept alive."""

    def __init__(self) -> None:
        self._views: dict[int, list[weakref.ref[torch.Tensor]]] = {}

    def note(self, made: torch.Tensor) -> None:
        """Remember a tensor that a call made, if it is a view of another."""
        if (base := made._base) is not None:
            self._views.setdefault(id(base), []).append(weakref.ref(made))

    def of(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Return the other tensors that hold memory of this one: its base, and that one's views."""
        root = tensor if tensor._base is None else tensor._base
        views = [view for ref in self._views.get(id(root), ()) if (view := ref()) is not None]
        family = [root, *(view for view in views if view._base is root)]
        return [other for other in family if other is not tensor]
