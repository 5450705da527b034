"""Fingerprints: whether two models hold the same weights, without bringing the weights together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from isoinit._drawing.hashing import hash_sum, tensor_key
from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit._reading.torch.kept import is_computed
from isoinit._reading.torch.names import named_modules
from isoinit._system.alone import alone
from isoinit._system.modes import plain_torch
from isoinit._system.processes import gathered, lost_rank
from isoinit._writing.assigning import needs_model
from isoinit._writing.entry import Entry
from isoinit._writing.fill import array_type, as_array
from isoinit._writing.placements import Held, copies_of, held_in
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import PlanError, RankError

_TOGETHER = 2**22  # elements that are drawn or copied at once


@dataclass(frozen=True)
class Fingerprint:
    """A hash of every parameter's bits, by name. Two are equal if the weights are.

    Attributes:
        tensors: 16 hexadecimal digits for each parameter: a sum of hashes of its elements.

    Example:
        >>> import isoinit, torch
        >>> model = torch.nn.Linear(4, 2)
        >>> plan = isoinit.plan(model)
        >>> _ = plan.apply(model, seed=3)
        >>> isoinit.fingerprint(model) == plan.fingerprint(seed=3)
        True
        >>> isoinit.fingerprint(model).differences(plan.fingerprint(seed=4))
        ['weight']
    """

    tensors: Mapping[str, str]

    def __str__(self) -> str:
        text = "\n".join(f"{name}\0{digits}" for name, digits in sorted(self.tensors.items()))
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def differences(self, other: Fingerprint) -> list[str]:
        """The names of the parameters that differ, or that one of the two lacks."""
        names = dict.fromkeys((*self.tensors, *other.tensors))
        return [n for n in names if self.tensors.get(n) != other.tensors.get(n)]


def fingerprint(model: nn.Module, group: Any = None) -> Fingerprint:
    """Return the fingerprint of a model's weights, which is the same on any sharding.

    Each rank hashes its own part, and the ranks exchange one number for each parameter. All ranks that
    share the model must call it.

    Args:
        model: a model, or one rank's part of it.
        group: a process group in which only some ranks hold each parameter, such as the stages of a
            pipeline. Every rank gets the fingerprint of all parameters.

    Returns:
        The fingerprint, the same on every rank and on any number of ranks.

    Raises:
        PlanError: if a parameter has no values, or its dtype or placement is not known.
        RankError: if replicas of a parameter differ, or a rank has stopped.
    """
    with alone():
        modules = named_modules(model)
        held, _ = held_in(modules)
        for name, part in held.items():
            if part.place.is_meta:
                raise PlanError(f"parameter {name!r} has no values, so it has no fingerprint")
            if is_computed(part.place):
                raise PlanError(
                    f"parameter {name!r} is a {type(part.place).__name__}, a tensor that computes "
                    "its values. Take the fingerprint before the model is converted"
                )
        copies = copies_of(modules)
        sums = {name: _hash_held(name, part) for name, part in held.items()}
        together: dict[tuple[int, ...], list[str]] = {}
        for name, part in held.items():
            together.setdefault(tuple(id(g) for g in (*part.parts, *part.copies)), []).append(name)
        for names in together.values():
            part = held[names[0]]
            totals = _reduced([sums[name] for name in names], names, part, (*part.copies, *copies))
            sums.update(zip(names, totals, strict=True))
        found = {name: f"{total % 2**64:016x}" for name, total in sums.items()}
        if group is not None:
            found = {
                name: digits for each in gathered(found, group) for name, digits in each.items()
            }
        return Fingerprint(found)


def planned_fingerprint(entries: Iterable[Entry], seed: int | None) -> Fingerprint:
    """Return the fingerprint of the weights that a plan draws: see `Plan.fingerprint`."""
    seed = resolve_seed(seed)
    entries = list(entries)
    if unknown := [entry.name for entry in entries if needs_model(entry)]:
        raise PlanError(
            f"parameter {unknown[0]!r} is computed by the right_inverse of its module, and a plan "
            "has no modules. Apply the plan and call isoinit.fingerprint(model)"
        )
    with plain_torch():
        return Fingerprint(
            {e.name: f"{_hash_entry(e, seed):016x}" for e in entries if e.initializer is not None}
        )


def _hash_held(name: str, part: Held) -> int:
    key = tensor_key(name, str(part.dtype), part.shape)
    dense = part.memory.layout is torch.strided
    flat = (part.memory if dense else part.memory.to_dense()).reshape(-1)
    if flat.device.type == "cpu":
        return hash_sum(as_array(flat), part.piece, key)
    total = 0
    for band in part.piece.bands(_TOGETHER) if part.piece.shape else (part.piece,):
        size = math.prod(band.held)
        total += hash_sum(as_array(flat[:size].cpu()), band, key)
        flat = flat[size:]
    return total % 2**64


def _hash_entry(entry: Entry, seed: int) -> int:
    """The hash of what an entry draws: a part at a time where elements do not depend on others."""
    assert entry.initializer is not None
    dtype = array_type(getattr(torch, entry.dtype))
    key = tensor_key(entry.name, f"torch.{entry.dtype}", entry.shape)
    alone = entry.initializer.draws_alone(entry.layout, dtype) if math.prod(entry.shape) else False
    stream, total = Stream(seed, entry.key), 0
    for piece in _pieces(entry.shape, whole=not alone):
        out = np.empty(math.prod(piece.held), dtype)
        entry.initializer.fill_piece(out, stream, entry.layout, piece)
        total += hash_sum(out, piece, key)
    return total % 2**64


def _pieces(shape: tuple[int, ...], *, whole: bool) -> Iterator[Piece]:
    size = math.prod(shape)
    if whole or size <= _TOGETHER:
        yield Piece.whole(shape)
        return
    for first in range(0, size, _TOGETHER):
        yield Piece.run(first, min(_TOGETHER, size - first))


def _reduced(sums: list[int], names: list[str], part: Held, copies: Iterable[Any]) -> list[int]:
    """The sums over the ranks that hold parts, which must be the same on those that hold copies.

    Raises:
        RankError: naming a tensor whose copies differ, or if a rank is gone.
    """
    signed = [total - 2**64 if total >= 2**63 else total for total in sums]
    device = part.place.device if part.place.is_cuda else "cpu"
    totals = torch.tensor(signed, dtype=torch.int64, device=device)
    try:
        for group in part.parts:
            dist.all_reduce(totals, dist.ReduceOp.SUM, group)
        low, high = totals.clone(), totals.clone()
        for group in copies:
            dist.all_reduce(low, dist.ReduceOp.MIN, group)
            dist.all_reduce(high, dist.ReduceOp.MAX, group)
    except RuntimeError as error:
        raise lost_rank(error) from error
    if differ := [
        name for name, same in zip(names, (low == high).tolist(), strict=True) if not same
    ]:
        more = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
        raise RankError(
            f"copies of parameter {differ[0]!r}{more} differ between ranks that should hold the "
            "same values. Apply the plan with the same seed on all ranks"
        )
    return [int(total) for total in totals]
