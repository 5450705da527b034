"""Which tensors share memory: what is written into one of them, all of them hold."""

from __future__ import annotations

import weakref

import torch


class Sharers:
    """The tensors that were made on the memory of others; none of them is kept alive."""

    def __init__(self) -> None:
        self._on: dict[int, list[weakref.ref[torch.Tensor]]] = {}

    def note(self, made: torch.Tensor, of: object) -> None:
        """Remember a tensor that a call made of another, if it is on the same memory."""
        if not isinstance(of, torch.Tensor) or made is of:
            return
        if (memory := _memory(made)) is not None and memory == _memory(of):
            alive = [ref for ref in self._on.get(memory, ()) if ref() is not None]
            self._on[memory] = [*alive, weakref.ref(of), weakref.ref(made)]

    def of(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Return the other tensors on the memory of this one."""
        memory = _memory(tensor)
        refs = self._on.get(memory, ()) if memory is not None else ()
        found = {id(other): other for ref in refs if (other := ref()) is not None}
        return [t for t in found.values() if t is not tensor and _memory(t) == memory]


def _memory(tensor: torch.Tensor) -> int | None:
    """Return the number of the memory that a tensor is on; None where it has none of its own."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse tensors, and wrappers of several
        return None
