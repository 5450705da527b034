"""What the ranks of a distributed run hold, told by hashes."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from isoinit._system.processes import gathered
from isoinit._verifying.auditing.poisoned import Held
from isoinit._writing.poison import bits


@dataclass(frozen=True)
class Part:
    """One rank's part of a tensor.

    Attributes:
        place: where it lies in the whole tensor; empty for a tensor that is not sharded.
        shape: of the part.
        digest: of its bits.
        random: whether it was drawn.
    """

    place: tuple[int, ...]
    shape: tuple[int, ...]
    digest: str
    random: bool


@dataclass(frozen=True)
class Parts:
    """What is wrong between ranks, by the names of tensors.

    Attributes:
        same: parts of different places that hold the same random bits.
        different: copies of one part of a sharded tensor that differ.
        unlike: tensors that are not sharded and differ from rank to rank.
    """

    same: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()


def compare_ranks(held: Held, random: Collection[str]) -> Parts:
    """Gather what every rank holds, and compare."""
    ranks = gathered(dict(_parts(held, random)))
    same: list[str] = []
    different: list[str] = []
    unlike: list[str] = []
    for name in held.tensors if len(ranks) > 1 else ():
        parts = [rank[name] for rank in ranks if name in rank]
        digests: dict[tuple[int, ...], set[str]] = defaultdict(set)
        places: dict[str, set[tuple[int, ...]]] = defaultdict(set)
        for part in parts:
            digests[part.place].add(part.digest)
            if part.random and part.shape == parts[0].shape and part.place:
                places[part.digest].add(part.place)
        if any(len(found) > 1 for found in places.values()):
            same.append(name)
        if any(len(found) > 1 for found in digests.values()):
            (different if parts[0].place else unlike).append(name)
    return Parts(tuple(same), tuple(different), tuple(unlike))


def digest(tensor: torch.Tensor) -> str:
    """A hash of a tensor's bits."""
    data = bits(tensor).contiguous().view(-1).view(torch.uint8).cpu().numpy()
    return hashlib.blake2b(data.tobytes(), digest_size=16).hexdigest()


def _parts(held: Held, random: Collection[str]) -> Iterator[tuple[str, Part]]:
    for name, tensor in held.tensors.items():
        if tensor.numel():
            shape = tuple(tensor.shape)
            yield name, Part(_place(held.whole[name]), shape, digest(tensor), name in random)


def _place(tensor: Any) -> tuple[int, ...]:
    if not hasattr(tensor, "_local_tensor"):
        return ()
    from isoinit._system.private import compute_local_shape_and_global_offset

    _, offset = compute_local_shape_and_global_offset(
        tensor.shape, tensor.device_mesh, tensor.placements
    )
    return tuple(offset)
