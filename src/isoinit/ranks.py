"""What the processes of a distributed run do together: agree, and fail as one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from isoinit.errors import ArgumentError, IsoinitError

T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """This process's rank and how many there are; 0 and 1 outside of a distributed run.

    Raises:
        ArgumentError: if a launcher started several processes that do not know each other yet.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    if _launched():
        raise ArgumentError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} and there is no process group: call "
            'torch.distributed.init_process_group("gloo") in every process first'
        )
    return 0, 1


def agree(mine: T, group: Any = None) -> list[T]:
    """What each rank has, in their order; just this one's outside of a distributed run.

    Raises:
        IsoinitError: if a rank is gone.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group) == 1:
        return [mine]
    everyone: list[Any] = [None] * dist.get_world_size(group)
    try:
        dist.all_gather_object(everyone, mine, group=group)
    except RuntimeError as error:  # what every backend raises when it loses a peer
        reason = str(error).strip().splitlines()[0]
        raise IsoinitError(
            f"a rank of the run is gone or does not answer ({reason}): see what its own output says"
        ) from error
    return everyone


@contextmanager
def together(doing: str, group: Any = None) -> Iterator[None]:
    """A block that every rank runs; what one of them raises, all raise.

    Args:
        doing: what the block does, for the message on the other ranks.
        group: the ranks; None for all.

    Raises:
        IsoinitError: if the block failed on another rank, with that rank's error.
    """
    try:
        yield
    except Exception as error:
        with suppress(IsoinitError):  # this rank's own error says more than that another is gone
            agree(f"{type(error).__name__}: {error}", group)
        raise
    failed = [(rank, why) for rank, why in enumerate(agree("", group)) if why]
    if failed:
        raise IsoinitError(
            "; ".join(f"{doing} failed on rank {rank}: {why}" for rank, why in failed)
        )


@contextmanager
def joined() -> Iterator[None]:
    """A process group for the block, where a launcher such as torchrun started several processes."""
    if not dist.is_available() or dist.is_initialized() or not _launched():
        yield
        return
    # A lost process is noticed at once; what takes long is another that still writes.
    dist.init_process_group("gloo", timeout=timedelta(days=1))
    try:
        yield
    finally:
        dist.destroy_process_group()


def _launched() -> bool:
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
