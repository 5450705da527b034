# mypy: ignore-errors
# ruff: noqa: ARG001
# Numba has no types, and its signatures are fixed.
"""What all kernels need: how they are compiled, the width of vectors, the threads."""

from __future__ import annotations

import os
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numba
from numba import njit, types
from numba.extending import intrinsic

from isoinit.errors import IsoinitWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set")


_cached = True


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use, release the GIL, and keep the code on disk for the next process."""
    global _cached
    if _cached:
        try:
            return njit(function, nogil=True, cache=True)
        except RuntimeError as error:  # no folder that Numba may write to
            _cached = False
            warnings.warn(
                "each process compiles the kernels again, because they cannot be cached "
                f"({error}). Set NUMBA_CACHE_DIR to a writable folder",
                IsoinitWarning,
                stacklevel=3,
            )
    return njit(function, nogil=True)


@intrinsic
def widest_vectors(typingctx):
    """Let LLVM use 512-bit vectors where the machine has them; by default it stops at 256."""

    def codegen(context, builder, signature, arguments):
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):  # a child inherits the pool, but none of its threads
    os.register_at_fork(after_in_child=_forget_pool)


def available_threads() -> int:
    """Return how many processors this process may use: its share where ranks share a machine."""
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:  # not every system has affinities
        processors = os.cpu_count() or 1
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "")  # set by torchrun
    return max(1, processors // int(ranks)) if ranks.isdigit() and int(ranks) else processors


def share(work: Callable[..., None], chunks: Iterable[tuple[Any, ...]], threads: int) -> None:
    """Do the work on every chunk, by several threads if asked: this one, and some of the pool's.

    A chunk is a tuple of arguments of `work`.
    """
    global _pool
    todo = deque(chunks)

    def help_out():
        while todo:
            try:
                chunk = todo.popleft()
            except IndexError:  # another thread took the last one
                return
            work(*chunk)

    helpers = min(threads, len(todo)) - 1
    if helpers > 0 and _pool is None:
        _pool = ThreadPoolExecutor(max(available_threads() - 1, 1), "isoinit")
    helping = [_pool.submit(help_out) for _ in range(helpers)]
    help_out()
    for one in helping:
        if not one.cancel():  # one that did not begin is not missed
            one.result()
