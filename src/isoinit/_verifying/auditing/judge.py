"""Judges the runs of an audit: what was forgotten, where, how bad, and what to do about it.

Each finder is one function from the facts to findings, one finding for all tensors of a kind.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.auditing import compare
from isoinit._verifying.auditing.poisoned import Held, Writes
from isoinit._verifying.auditing.ranks import Parts, digest

WRITE = "write it in init_weights, _init_weights or reset_parameters"
EMPTY = "torch.nn.Module.to_empty leaves memory as it is; no constructor runs after it"
DRAW = "draw each from numbers of its own"


@dataclass(frozen=True)
class Facts:
    """All that the finders look at.

    Attributes:
        first, second: what the model holds after runs from either poison, under one seed.
        other: after a run under another seed, from the first poison.
        again: after the first run once more, where it was needed to tell memory from chance.
        straight: what it holds when built on the processor, under two seeds; None if it cannot be.
        writes: what was seen of the single writes.
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


def differing(first: Held, second: Held) -> frozenset[str]:
    """The names of the tensors whose bits are not the same."""
    return frozenset(
        name
        for name, tensor in first.tensors.items()
        if name in second.tensors and not compare.same(tensor, second.tensors[name])
    )


def no_meta(facts: Facts) -> Iterator[Finding]:
    """A constructor that needs values."""
    if facts.no_meta:
        yield Finding(
            "not built on meta",
            "warning",
            (),
            0.0,
            0.0,
            "a tensor on the meta device has no values",
            "compute such numbers in Python, or under torch.device('cpu')",
            f"the model cannot be built on the meta device ({facts.no_meta}); it was built on the "
            "processor, so attributes that the meta device would lose were not looked at",
        )


def never_written(facts: Facts) -> Iterator[Finding]:
    """Tensors, or parts of them, that hold what their memory held."""
    whole: list[str] = []
    part: list[str] = []
    for name, missing in facts.missing.items():
        if missing.never:
            full = missing.never == facts.first.tensors[name].numel()
            (whole if full else part).append(name)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in whole:
        groups[_origin(facts, name)].append(name)
    for words, names in groups.items():
        count = float(sum(facts.missing[name].never for name in names))
        yield Finding(
            "never written",
            "error",
            tuple(names),
            count,
            0.0,
            EMPTY,
            WRITE,
            f"{listed(names)}: no initialization writes {_it(names)}, and {_holds(names)} whatever "
            f"the memory held ({words})",
        )
    for name in part:
        missing = facts.missing[name]
        size = facts.first.tensors[name].numel()
        yield Finding(
            "partly written",
            "error",
            (name,),
            float(missing.never),
            0.0,
            EMPTY,
            WRITE,
            f"{name}: {missing.never:,} of {size:,} elements are never written, the first at "
            f"{list(missing.first)}",
        )


def _origin(facts: Facts, name: str) -> str:
    """What the constructors know of a tensor, in words."""
    values = facts.before(name)
    if values is None:
        return "what a constructor on the processor gives is not known"
    if values.is_floating_point() and bool(values.isnan().all()):
        return "no constructor writes it either"
    if name in facts.chance:
        return "the constructor alone draws it"
    number = _number(facts, name)
    return f"the constructor alone gives {'a table' if number is None else number}"


def _number(facts: Facts, name: str) -> str | None:
    """The one number that a tensor is filled with when it is built on the processor."""
    values = facts.before(name)
    if values is None or not values.numel() or not compare.is_constant(values):
        return None
    return None if name in facts.chance else f"{values.reshape(-1)[0].item():.4g}"


def computed(facts: Facts) -> Iterator[Finding]:
    """Values that were computed from memory that nothing had written."""
    names = [n for n, m in facts.missing.items() if m.computed and not m.never]
    if names:
        yield Finding(
            "computed from nothing",
            "error",
            tuple(names),
            float(sum(facts.missing[name].computed for name in names)),
            0.0,
            EMPTY,
            "write what it is computed from first: " + WRITE,
            f"{listed(names)}: computed from memory that nothing had written (other memory, other "
            "values)",
        )


def unseeded(facts: Facts) -> Iterator[Finding]:
    """Values that no generator of torch, Python or NumPy governs."""
    if names := tuple(n for n in facts.first.tensors if n in facts.unseeded):
        yield Finding(
            "not seeded",
            "warning",
            names,
            float(len(names)),
            0.0,
            "a start that cannot be repeated cannot be compared",
            "draw from torch's default generator, or from one that is seeded",
            f"{listed(names)}: other values at each run from the same seed",
        )


def lost(facts: Facts) -> Iterator[Finding]:
    """Attributes that are neither parameters nor buffers, and stay without memory."""
    if names := facts.first.lost:
        yield Finding(
            "left on meta",
            "error",
            names,
            float(len(names)),
            0.0,
            "to_empty gives memory to parameters and buffers, and to nothing else",
            "hold such a tensor as a buffer (register_buffer with persistent=False), and write it",
            f"{listed(names)}: held as {'plain attributes' if len(names) > 1 else 'a plain attribute'}"
            ", still on the meta device after the initialization",
        )


def ties(facts: Facts) -> Iterator[Finding]:
    """Parameters that are one when built on the processor, and come apart on the meta device."""
    if facts.straight is None:
        return
    now = facts.first
    apart = [
        (name, other)
        for other, name in facts.straight[0].aliases.items()
        if now.aliases.get(other, other) != now.aliases.get(name, name)
    ]
    if apart:
        names = tuple(dict.fromkeys(n for pair in apart for n in pair))
        yield Finding(
            "tie lost",
            "error",
            names,
            float(len(apart)),
            0.0,
            "to_empty gives each place in a model memory of its own, so tied parameters come apart",
            "tie them again in the initialization, after to_empty",
            f"{listed([f'{a} and {b}' for a, b in apart])}: one parameter when the model is built "
            "straight on the processor, two after to_empty and the initialization",
        )


def twice(facts: Facts) -> Iterator[Finding]:
    """Values written over before anything read them."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, lines in facts.writes.twice.items():
        groups[lines.first, lines.second].append(name)
    for (first, second), names in groups.items():
        again = "again" if first == second else f"and then at {second}"
        yield Finding(
            "written twice",
            "warning",
            tuple(names),
            2.0,
            1.0,
            "the first values are lost: time is, and what is left depends on the order of the modules",
            "write each tensor once; tied parameters, for one of their modules only",
            f"{listed(names)}: written at {first} {again}, with nothing read between",
        )


def identical(facts: Facts) -> Iterator[Finding]:
    """Random tensors that hold the same bits, and are neither tied nor copied on purpose."""
    groups: dict[object, list[str]] = defaultdict(list)
    seen: set[int] = set()
    for name, values in facts.first.tensors.items():
        if values.data_ptr() in seen:
            continue  # one memory under two tensors is a tie as well
        seen.add(values.data_ptr())
        if name in facts.random - facts.writes.copied and _tells(values):
            again = digest(facts.other.tensors[name]) if name in facts.other.tensors else ""
            groups[values.shape, values.dtype, digest(values), again].append(name)
    for names in groups.values():
        if len(names) > 1:
            yield Finding(
                "bit-identical",
                "error",
                tuple(names),
                float(len(names)),
                1.0,
                "tensors that start alike where a draw should tell them apart stay alike longer",
                DRAW + "; share one parameter if they are meant to be one",
                f"{listed(names)}: the same bits under every seed, though drawn and not tied",
            )


def identical_slices(facts: Facts) -> Iterator[Finding]:
    """Stacks of random matrices, such as experts, that are all the same."""
    for name in facts.first.tensors:
        values = facts.first.tensors[name]
        conv = isinstance(facts.first.owners.get(name), nn.modules.conv._ConvNd)
        if name not in facts.random or conv or values.dim() < 3 or len(values) < 2:
            continue
        if _tells(values[0]) and all(compare.same(values[0], each) for each in values[1:]):
            yield Finding(
                "identical slices",
                "error",
                (name,),
                float(len(values)),
                1.0,
                "experts or heads that start identical receive identical gradients and stay so",
                DRAW,
                f"{name}: its {len(values)} slices along the first axis hold the same bits, though "
                "drawn",
            )


def _tells(values: torch.Tensor) -> bool:
    """Whether equal bits are no accident: two draws agree less than once in 10⁹ times."""
    real = values.is_floating_point() or values.is_complex()
    wide = values.numel() * values.element_size() * 4 >= 64  # at least half of the bits vary
    return real and wide and not compare.is_constant(values)


def ranks(facts: Facts) -> Iterator[Finding]:
    """What is wrong between the ranks of a distributed run."""
    kinds = (
        (
            "identical shards",
            "error",
            facts.parts.same,
            "ranks that hold different parts of it drew the same bits for them",
            "seed each rank by what it holds, or draw by the place in the whole tensor",
        ),
        (
            "replicas differ",
            "error",
            facts.parts.different,
            "ranks that hold the same part of it hold other values",
            "seed replicas alike, or broadcast from one of them",
        ),
        (
            "ranks differ",
            "warning",
            facts.parts.unlike,
            "it is not sharded, and differs from rank to rank",
            "seed ranks alike, or broadcast from one; a wrapper like DDP does when it is made",
        ),
    )
    for name, severity, where, words, advice in kinds:
        if where:
            yield Finding(
                name,
                severity,
                where,
                float(len(where)),
                0.0,
                "a sharded model is one model: each element has one value, wherever it lies",
                advice,
                f"{listed(where)}: {words}",
            )


def differs(facts: Facts) -> Iterator[Finding]:
    """What was written, but not with what the constructor gives."""
    far: dict[str, float] = {}
    law: dict[str, float] = {}
    for name, values in facts.first.tensors.items():
        there = facts.before(name)
        if there is None or name in facts.missing:
            continue
        if (there.shape, there.dtype) != (values.shape, values.dtype):
            far[name] = math.inf
        elif name not in facts.chance:
            if gap := compare.farthest(values, there):
                far[name] = gap
        elif facts.own and (ratio := compare.other_law(values, there)) is not None:
            law[name] = ratio
    if far:
        yield Finding(
            "differs from __init__",
            "warning",
            tuple(far),
            max(far.values()),
            compare.ROUNDING,
            "a value that only a constructor knew is lost where no constructor runs",
            "give the initialization the same values, or leave them to it alone",
            f"{listed([_change(facts, n) for n in far])}: built straight on the processor the model "
            "holds other values",
        )
    if law:
        yield Finding(
            "other law",
            "warning",
            tuple(law),
            max(law.values(), key=lambda r: abs(r - 1)),
            1.0,
            "two samples of one law are told apart once in 10⁹ times, by mean and deviation",
            "draw from one law, in the constructor and in the initialization",
            f"{listed([f'{n} ({r:.3g}×)' for n, r in law.items()])}: the constructor draws from "
            "another law than the initialization, by this ratio of standard deviations",
        )


def _change(facts: Facts, name: str) -> str:
    values, before = facts.first.tensors[name], _number(facts, name)
    if before is None:
        return name
    if name in facts.random or not compare.is_constant(values):
        return f"{name} ({before} there)"
    return f"{name} ({before} there, {values.reshape(-1)[0].item():.4g} here)"


def structure(facts: Facts) -> Iterator[Finding]:
    """Tensors that only one way of building makes."""
    if facts.straight is None:
        return
    there, now = facts.straight[0], facts.first
    here = {*now.tensors, *now.aliases}
    names = tuple(n for n in [*there.tensors, *there.aliases] if n not in here)
    if names:
        yield Finding(
            "not there",
            "error",
            names,
            float(len(names)),
            0.0,
            "a model has the same tensors wherever it is built",
            "make them in __init__ on any device",
            f"{listed(names)}: made when the model is built on the processor, and not on the meta "
            "device",
        )


FINDERS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    never_written,
    computed,
    lost,
    ties,
    structure,
    identical,
    identical_slices,
    ranks,
    differs,
    twice,
    unseeded,
    no_meta,
)


def judge(facts: Facts) -> list[Finding]:
    """Everything that the finders find, errors first."""
    with torch.no_grad():
        found = [finding for finder in FINDERS for finding in finder(facts)]
    return sorted(found, key=lambda finding: finding.severity)


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _holds(names: Sequence[str]) -> str:
    return "it holds" if len(names) == 1 else "they hold"
