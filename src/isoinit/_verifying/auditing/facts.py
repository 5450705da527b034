"""All that the finders of an audit look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from isoinit._verifying.auditing import compare
from isoinit._verifying.auditing.constructing import Lost
from isoinit._verifying.auditing.poisoned import Held, Writes
from isoinit._verifying.auditing.ranks import Parts


@dataclass(frozen=True)
class Facts:
    """All that the finders look at.

    Attributes:
        first, second: what the model holds after runs from either poison, under one seed.
        other: after a run under another seed, from the first poison.
        again: after the first run once more, where it was needed to tell memory from chance.
        straight: what it holds when built on the processor, under two seeds; None if it cannot be.
        writes: what was seen of the single writes.
        lost: what the constructor meant and something wrote over, by name.
        meant: the tensors that hold what the constructor means something by, when it is done.
        parts: what is wrong between ranks.
        own: whether it was the model's own initialization.
        no_meta: why the model could not be built on the meta device; empty if it could.
    """

    first: Held
    second: Held
    other: Held
    again: Held | None
    straight: tuple[Held, Held] | None
    writes: Writes
    lost: dict[str, Lost]
    meant: frozenset[str]
    parts: Parts
    own: bool
    no_meta: str

    @cached_property
    def unseeded(self) -> frozenset[str]:
        """The tensors that differ between two runs that started alike."""
        return frozenset() if self.again is None else differing(self.first, self.again)

    @cached_property
    def missing(self) -> dict[str, compare.Missing]:
        """What was not written, by name, of the tensors where there is anything."""
        found = {
            name: compare.missing(tensor, self.second.tensors[name])
            for name, tensor in self.first.tensors.items()
            if name in self.second.tensors and name not in self.unseeded
        }
        return {name: m for name, m in found.items() if m.never or m.computed}

    @cached_property
    def random(self) -> frozenset[str]:
        """The tensors that were drawn: their values follow the seed, or a draw was seen."""
        written = frozenset(self.first.tensors) - frozenset(self.missing)
        return written & (differing(self.first, self.other) | self.writes.drawn | self.unseeded)

    @cached_property
    def chance(self) -> frozenset[str]:
        """The tensors that are random when the model is built on the processor, by all names."""
        if self.straight is None:
            return frozenset()
        random = differing(*self.straight)
        aliases = self.straight[0].aliases
        return random | {other for other, name in aliases.items() if name in random}

    def before(self, name: str) -> torch.Tensor | None:
        """What a tensor holds when the model is built on the processor; None if not known."""
        if self.straight is None:
            return None
        held = self.straight[0]
        return held.tensors.get(held.aliases.get(name, name))

    def number_before(self, name: str) -> str | None:
        """The one number that a tensor is filled with when it is built on the processor."""
        values = self.before(name)
        if values is None or not values.numel() or not compare.is_constant(values):
            return None
        return None if name in self.chance else f"{values.reshape(-1)[0].item():.4g}"


def differing(first: Held, second: Held) -> frozenset[str]:
    """The names of the tensors whose bits are not the same."""
    return frozenset(
        name
        for name, tensor in first.tensors.items()
        if name in second.tensors and not compare.same(tensor, second.tensors[name])
    )
