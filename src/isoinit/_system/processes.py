"""What the processes of a distributed run do together: agree before they write, and fail as one.

Values need no communication: each rank draws its own part. But a rank with another seed or plan would
draw parts of other weights, and nobody would know. So ranks compare a few words, and a rank that fails
tells the others instead of leaving them to wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from isoinit.errors import ArgumentError, RankError

Facts = Callable[[], Mapping[str, str]]
T = TypeVar("T")
U = TypeVar("U")
Said = tuple[tuple[str, str], ...]  # facts, as what can be hashed


def agree(find: Callable[[], tuple[Facts, U, T]], groups: Iterable[Any]) -> tuple[U, T]:
    """Find some facts on every rank, and go on only if they are the same on all.

    Args:
        find: what finds a function of this rank's facts, each by its name, called only where there
            are other ranks; what this rank offers, where one rank's choice is to hold for all; and
            something else. What it raises is raised here, and told to the other ranks.
        groups: process groups to compare in, one after another: those of a mesh's dimensions
            together reach all ranks of it. The ranks of a group must call this alike.

    Returns:
        What the first rank offers, and what else was found.

    Raises:
        RankError: naming the ranks whose facts differ, the rank that failed and its error, or that a
            rank is gone.
    """
    groups = [group for group in groups if _is_shared(group)]
    try:
        facts_of, offer, rest = find()
        if not groups:
            return offer, rest
        found = facts_of()
    except Exception as error:
        with suppress(RankError):  # this rank's own error says more than that another is gone
            _gathered((("", f"{type(error).__name__}: {error}"),), None, groups)
        raise
    seen = _gathered(tuple(found.items()), offer, groups)
    for facts, ranks in seen.items():
        if failure := dict(facts).get(""):
            raise RankError(f"nothing was changed: {_named(list(ranks))} failed: {failure}")
    if len(seen) > 1:
        raise RankError(_differences({facts: list(ranks) for facts, ranks in seen.items()}))
    (offers,) = seen.values()
    return next(iter(offers.values())), rest


def gathered(mine: T, group: Any = None) -> list[T]:
    """What each rank of a group has, in their order; just this one's where there is no other.

    Raises:
        RankError: if a rank is gone.
    """
    if not _is_shared(group):
        return [mine]
    everyone: list[Any] = [None] * dist.get_world_size(group)
    try:
        dist.all_gather_object(everyone, mine, group)
    except Exception as error:  # each backend has its own
        raise lost_rank(error) from error
    return everyone


def lost_rank(error: Exception) -> RankError:
    """What to raise where a collective failed."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return RankError(
        f"a rank has stopped or made a different call ({reason}). Look for the error of the rank "
        "that stopped first, and make the same call on all ranks"
    )


@contextmanager
def together(doing: str, group: Any = None) -> Iterator[None]:
    """A block that every rank runs; what one of them raises, all raise.

    Args:
        doing: what the block does, for the message on the other ranks.
        group: the ranks; None for all.

    Raises:
        RankError: if the block failed on another rank, with that rank's error.
    """
    try:
        yield
    except Exception as error:
        with suppress(RankError):  # this rank's own error says more than that another is gone
            gathered(f"{type(error).__name__}: {error}", group)
        raise
    failed = [(rank, why) for rank, why in enumerate(gathered("", group)) if why]
    if failed:
        raise RankError("; ".join(f"{doing} failed on rank {rank}: {why}" for rank, why in failed))


def rank_and_size() -> tuple[int, int]:
    """This process's rank and how many there are; 0 and 1 outside of a distributed run.

    Raises:
        ArgumentError: if a launcher started several processes that do not know each other yet.
    """
    if _initialized():
        return dist.get_rank(), dist.get_world_size()
    if _launched():
        raise ArgumentError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} but there is no process group. First call "
            'torch.distributed.init_process_group("gloo") in every process'
        )
    return 0, 1


@contextmanager
def joined() -> Iterator[None]:
    """A process group for the block, where a launcher such as torchrun started several processes."""
    if not dist.is_available() or dist.is_initialized() or not _launched():
        yield
        return
    # Its functions take the group that is there at their import as a default, and hold it for good.
    # Imported within the block, as a plan does, the threads of the group would outlive the block and
    # end with the interpreter, which may abort (https://github.com/pytorch/pytorch/pull/179291).
    import torch.distributed.nn.functional  # noqa: F401

    # A lost process is noticed at once; what takes long is another that still writes.
    dist.init_process_group("gloo", timeout=timedelta(days=1))
    try:
        yield
    finally:
        dist.destroy_process_group()


def _is_shared(group: Any) -> bool:
    """Return whether a group has other ranks than this one."""
    return _initialized() and dist.get_world_size(group) > 1


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def _launched() -> bool:
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _gathered(mine: Said, offer: U, groups: Iterable[Any]) -> dict[Said, dict[int, U]]:
    """Who says and offers what, over all the groups: offers by what ranks say, and by rank."""
    seen = {mine: {dist.get_rank() if _initialized() else 0: offer}}
    for group in groups:
        for other in gathered(seen, group):
            for facts, offers in other.items():
                seen.setdefault(facts, {}).update(offers)
    return {facts: dict(sorted(offers.items())) for facts, offers in seen.items()}


def _differences(seen: Mapping[Said, list[int]]) -> str:
    """What differs: most ranks' facts are taken for right."""
    usual = max(seen, key=lambda facts: len(seen[facts]))
    lines = []
    for facts, ranks in seen.items():
        if facts != usual:
            differ = [
                f"{name} {found!r} instead of {dict(usual).get(name)!r}"
                for name, found in facts
                if found != dict(usual).get(name)
            ]
            lines.append(f"{_named(ranks)} with {', '.join(differ)}")
    return (
        f"nothing was changed: {'; '.join(lines)} (as {_named(seen[usual])}). Give every rank the "
        "same plan and the same seed, and use one version of isoinit"
    )


def _named(ranks: list[int]) -> str:
    few = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" * (len(ranks) > 8))
    return f"rank{'s' * (len(ranks) > 1)} {few}"
