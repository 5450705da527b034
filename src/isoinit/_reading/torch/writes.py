"""Which tensors share memory: what is written into one of them, all of them hold."""

from __future__ import annotations

import weakref

import torch

from isoinit._system.private import storage_key


class Sharers:
    """The tensors that were made on the memory of others; none of them is kept alive."""

    def __init__(self) -> None:
        self._on: dict[int, dict[int, weakref.ref[torch.Tensor]]] = {}

    def note(self, made: torch.Tensor, of: object) -> None:
        """Remember a tensor that a call made of another, if it is on the same memory."""
        if not isinstance(of, torch.Tensor) or made is of:
            return
        if (memory := _memory(made)) is None or memory != _memory(of):
            return
        known = self._on.setdefault(memory, {})
        known.update({id(of): weakref.ref(of), id(made): weakref.ref(made)})
        if len(known) & (len(known) - 1) == 0:  # now and then, which takes linear time in all
            self._on[memory] = {key: ref for key, ref in known.items() if ref() is not None}

    def of(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Return the other tensors on the memory of this one."""
        memory = _memory(tensor)
        refs = self._on.get(memory, {}) if memory is not None else {}
        alive = [other for ref in refs.values() if (other := ref()) is not None]
        return [other for other in alive if other is not tensor and _memory(other) == memory]


def _memory(tensor: torch.Tensor) -> int | None:
    """Return the number of the memory that a tensor is on; None where it has none of its own."""
    try:
        return storage_key(tensor)
    except (NotImplementedError, RuntimeError):  # sparse tensors, and wrappers of several
        return None
