"""Computing on real tensors in the middle of a run, without a trace of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from isoinit._reading.graph import ReplayError
from isoinit._system.private import unset_fake_temporarily

CPU = torch.device("cpu")


@contextmanager
def on_real_memory(*, draws: bool = True) -> Iterator[None]:
    """Compute on real tensors of the CPU, whatever the caller has set, and draw nothing.

    Gradients are not turned off, which would take longer than most calls: no tensor here has any.

    Args:
        draws: whether what is computed may draw random numbers. Asking takes longer than most calls.

    Raises:
        ReplayError: if random numbers were drawn: what was computed is no function of its inputs.
    """
    with unset_fake_temporarily():
        elsewhere = torch.empty(0).device != CPU  # the mode for it makes each call slower
        if not draws:
            with CPU if elsewhere else nullcontext():
                yield
            return
        before = torch.get_rng_state()
        try:
            with CPU if elsewhere else nullcontext():
                yield
        finally:
            drawn = not torch.equal(before, torch.get_rng_state())
            if drawn:
                torch.set_rng_state(before)
        if drawn:
            raise ReplayError("draws random numbers")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: few thousand elements are done before another one is awake.

    Torch hands functions such as `exp` and `tanh` to all threads from 2,048 elements on. Those of
    4,096 samples take 20 µs on one thread, 10 ms on two where the machine is busy.
    """
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)  # 0.1 µs
    try:
        yield
    finally:
        torch.set_num_threads(before)
