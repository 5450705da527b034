"""Computing on real tensors in the middle of a run, without a trace of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from isoinit._reading.graph import ReplayError


class _NoChance(TorchDispatchMode):
    """Refuses operations that draw random numbers: what they give is no function of their inputs."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise ReplayError("draws random numbers")
        return func(*args, **(kwargs or {}))


@contextmanager
def on_real_memory() -> Iterator[None]:
    """Compute on real tensors of the CPU, whatever the caller has set, and draw nothing.

    Raises:
        ReplayError: if an operation draws random numbers.
    """
    no_chance = _NoChance()  # type: ignore[no-untyped-call]
    with unset_fake_temporarily(), torch.no_grad(), torch.device("cpu"), no_chance:
        yield
