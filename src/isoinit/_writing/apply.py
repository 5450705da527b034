"""Applies a plan to a model, whole or one rank's part of it: validated whole, then written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn
from torch.nn.utils import parametrize

from isoinit._drawing.streams import Stream, philox
from isoinit._system.alone import alone
from isoinit._system.processes import agree
from isoinit._system.signals import check_signals
from isoinit._writing.assigning import Followed, follow, needs_model, refresh
from isoinit._writing.counted import count_anew
from isoinit._writing.entry import Entry
from isoinit._writing.fill import Fill, fill_tensors, law_for
from isoinit._writing.meta import (
    Buffers,
    Emptied,
    buffer_values,
    give_memory,
    kept_parameters,
    restore_buffers,
)
from isoinit._writing.own_init import forget_loaded
from isoinit._writing.placements import Held, groups_of, held, held_parameters, write_part
from isoinit._writing.postponed import as_constructed, forget, run_postponed
from isoinit._writing.refusals import (
    left_on_meta,
    refuse_mismatch,
    refuse_unfillable,
    refuse_unready,
)
from isoinit._writing.seeds import offered_seed
from isoinit._writing.sharing import refuse_shared
from isoinit._writing.stored import Given, parameters_in, stored
from isoinit.errors import ArgumentError, Interrupted, IsoinitError, IsoinitWarning, PlanError

Entries = Mapping[str, Entry]
Parts = Mapping[str, tuple[Entry, Held]]
Filled = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class _Prepared:
    """What is worked out before the first write.

    Attributes:
        chosen: the entries of the parameters that are to be filled, by their names in the model.
        kept: what parameters on the meta device keep, as their own initialization gives it.
        buffers: the values of buffers without.
        seed: what `followed` was worked out under.
        followed: what follows from weights that modules compute.
    """

    chosen: dict[str, Entry]
    kept: dict[str, nn.Parameter]
    buffers: dict[str, torch.Tensor]
    seed: int
    followed: Followed

    def under(self, seed: int, model: nn.Module) -> _Prepared:
        """Return the same under another seed: one that has been worked out on another rank."""
        if seed == self.seed:
            return self
        followed = follow(model, self.chosen, seed, self.buffers)
        return replace(self, seed=seed, followed=followed)

    @property
    def values(self) -> dict[str, torch.Tensor]:
        """Whole values of the parameters that no initializer fills, by name."""
        kept = {
            name: as_constructed(parameter, Stream(self.seed, name)).detach()
            for name, parameter in self.kept.items()
        }
        return {**self.followed.parameters, **kept}


class Planned(Protocol):
    """What a plan tells of the values: see `Plan`."""

    @property
    def entries(self) -> Entries: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...
    @property
    def digest(self) -> str: ...
    @property
    def emptied(self) -> Emptied: ...


def apply(
    plan: Planned,
    model: nn.Module,
    seed: int | None,
    only_missing: Given | None,
    buffers: Buffers,
    asked: Callable[[], Collection[str]] | None = None,
) -> int:
    """Fill a model, and return the seed that was used: see `Plan.apply`.

    `asked` gives the names of the only entries to fill.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is a {type(model).__name__}; expected a torch.nn.Module. The parameters of a "
            "JAX model are filled by plan.fill(params), which returns a new tree"
        )
    with alone():
        held, tied = held_parameters(model)

        def prepare() -> tuple[dict[str, str], int, _Prepared]:
            said, offered = offered_seed(seed)
            wanted = _wanted(plan, held, tied, only_missing, asked)
            chosen = _chosen(plan, held, wanted, offered)
            ready = _prepared(plan, model, chosen, held, buffers, offered)
            left = ", ".join(name for name in held if name not in chosen)
            streams = str(philox.DEFINITION)
            facts = {"plan": plan.digest, "seed": said, "streams": streams, "kept": left}
            return facts, offered, ready

        used, prepared = agree(prepare, groups_of(model, held.values()))
        # The first rank has worked out the same under this seed, and did not fail.
        ready = prepared.under(used, model)
        if any(part.tensor.is_meta for part in held.values()):
            give_memory(model, [held[name].tensor for name in held if name not in ready.chosen])
            held, _ = held_parameters(model)
        restore_buffers(model, {**ready.buffers, **ready.followed.buffers})
        parts = {name: (entry, held[name]) for name, entry in ready.chosen.items()}
        with _stoppable(parts, used) as filled:
            fill(parts, used, ready.values, filled)
        refresh(model)
        parametrize._cache.clear()  # inside `parametrize.cached()` it would hold the weights of before
        return used


def fill(
    parts: Parts,
    seed: int,
    values: Mapping[str, torch.Tensor] | None = None,
    filled: Filled | None = None,
) -> None:
    """Fill parameters, or this rank's parts of them, by name.

    Args:
        parts: what to fill.
        seed: as for `Plan.apply`.
        values: whole values of parameters that only the model knows; see `assigning.follow`.
        filled: called with the names of parameters as soon as they are filled. What it raises ends
            the fill.

    Raises:
        PlanError: if an initializer does not fit a parameter; nothing was changed then.
    """
    values = values or {}
    fills = _fills({name: part for name, part in parts.items() if name not in values}, seed)

    def note(names: Sequence[str]) -> None:
        drawn = (n for n in names if parts[n][0].initializer is not None or n in values)
        _tell([parts[name][1].tensor for name in drawn])
        if filled is not None:
            filled(names)

    for name, (entry, part) in parts.items():
        if entry.initializer is None:
            run_postponed(part.tensor, Stream(seed, entry.key))
            note([name])
    fill_tensors(fills, note)
    for name, value in values.items():
        write_part(parts[name][1], value)
        note([name])


def _tell(tensors: list[torch.Tensor]) -> None:
    """Have everyone who keeps account of parameters know that these have values now."""
    # What is sharded was written behind its back too.
    torch.autograd.graph.increment_version([t for t in tensors if type(t).__name__ == "DTensor"])
    forget(tensors)
    forget_loaded(tensors)
    count_anew(tensors)


@contextmanager
def _stoppable(parts: Parts, seed: int) -> Iterator[Filled]:
    """Have errors that end a fill, such as that of a signal, say what is filled; gives `filled`."""
    done: list[str] = []

    def filled(names: Sequence[str]) -> None:
        done.extend(names)
        if len(done) < len(parts):
            check_signals()

    try:
        yield filled
    except BaseException as error:
        few = ", ".join(map(repr, done[:3])) + (f" and {len(done) - 3} more" * (len(done) > 3))
        told = (
            f"stopped when {len(done)} of {len(parts)} parameters were filled ({few or 'none'}); the "
            f"others hold no initial values yet: apply the plan (or call isoinit.init) again with "
            f"seed={seed} to complete it"
        )
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(told, tuple(done)) from None
        if hasattr(error, "add_note"):  # since Python 3.11
            error.add_note(told)
        raise


def fill_parameters(
    entries: Entries,
    parameters: Mapping[str, torch.Tensor],
    seed: int,
    values: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Fill whole parameters of a plan, by name, as `apply` fills all: see `fill` for the values."""
    refuse_shared(parameters)
    parts = {name: (entries[name], held(name, tensor)) for name, tensor in parameters.items()}
    with alone():
        fill(parts, seed, values)


def fill_within(
    entries: Entries, model: nn.Module, parameters: Mapping[str, torch.Tensor], seed: int
) -> None:
    """Fill some parameters of a model, by name, and what follows from the weights made of them.

    Raises:
        PlanError: if an initializer does not fit a parameter; nothing was changed then.
    """
    mine = {name: entries[name] for name in parameters if entries[name].initializer is not None}
    followed = follow(model, mine, seed)
    fill_parameters(entries, parameters, seed, followed.parameters)
    restore_buffers(model, followed.buffers)


def _prepared(
    plan: Planned,
    model: nn.Module,
    chosen: Collection[str],
    held: Mapping[str, Held],
    buffers: Buffers,
    seed: int,
) -> _Prepared:
    """What follows from weights that modules compute, and the values of buffers without."""
    mine = {name: plan.entries[plan.aliases.get(name, name)] for name in chosen}
    kept = _kept(plan, model, {name: held[name].tensor for name in chosen}, buffers)
    followed = follow(model, mine, seed)
    tensors = [part.tensor for part in held.values()]
    values = buffer_values(model, tensors, buffers, plan.emptied, followed.buffers)
    if values:  # some of which a weight may depend on
        followed = follow(model, mine, seed, values)
    return _Prepared(mine, kept, values, seed, followed)


def _wanted(
    plan: Planned,
    held: Mapping[str, Held],
    tied: Mapping[str, str],
    only_missing: Given | None,
    asked: Callable[[], Collection[str]] | None,
) -> dict[str, Held]:
    """The parameters that the caller wants to have filled or kept, and that he does not load."""
    there = [] if only_missing is None else parameters_in(stored(only_missing), held, tied)
    wanted = {n: p for n, p in held.items() if n not in there and not _is_to_come(plan, n, p)}
    if asked is None:
        return wanted
    names = asked()
    mine = {tied.get(name, name) for name in names}
    return {n: part for n, part in wanted.items() if n in mine or plan.aliases.get(n) in names}


def _is_to_come(plan: Planned, name: str, part: Held) -> bool:
    """Return whether a parameter without memory is one that the caller loads or fills himself."""
    entry = plan.entries.get(plan.aliases.get(name, name))
    return part.tensor.is_meta and entry is not None and entry.kept in ("loaded", "only")


def _chosen(
    plan: Planned,
    held: Mapping[str, Held],
    wanted: Mapping[str, Held],
    seed: int,
) -> list[str]:
    """The names of the parameters that are to be filled; what cannot be done is refused."""
    entries, aliases = plan.entries, plan.aliases
    refuse_unready({name: part.tensor for name, part in held.items()}, now=False)
    refuse_mismatch(entries, held, aliases, some=True)
    drawn = [name for name in wanted if entries[aliases.get(name, name)].initializer is not None]
    refuse_unfillable({name: held[name].tensor for name in drawn}, now=False)
    refuse_shared({name: part.memory for name, part in held.items()}, set(drawn))
    chosen = {n: (entries[aliases.get(n, n)], part) for n, part in wanted.items()}
    _fills({n: part for n, part in chosen.items() if not needs_model(part[0])}, seed)
    parted = [name for name in chosen if name in aliases and aliases[name] in chosen]
    if parted:
        warnings.warn(
            f"{parted[0]!r} was tied to {aliases[parted[0]]!r} when the plan was made, and is no more "
            "(to_empty parts tied parameters): both get the same values, and will train apart "
            "unless they are tied again (model.tie_weights() in transformers)",
            IsoinitWarning,
            stacklevel=5,
        )
    return list(chosen)


def _kept(
    plan: Planned,
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    buffers: Buffers,
) -> dict[str, nn.Parameter]:
    """What holds the values of parameters on the meta device that the plan leaves as they were.

    Raises:
        PlanError: if there are none for one of them.
    """
    entries, aliases = plan.entries, plan.aliases
    meta = {name: tensor for name, tensor in tensors.items() if tensor.is_meta}
    empty = [name for name in meta if entries[aliases.get(name, name)].initializer is None]
    values = kept_parameters(model, empty, buffers)
    left = {name: tensors[name] for name in empty if name not in values}
    if fault := left_on_meta(entries, left, aliases):
        raise PlanError(f"nothing was changed: {fault}")
    return values


def _fills(parts: Parts, seed: int) -> list[Fill]:
    """What to fill with what.

    Raises:
        PlanError: if something cannot be: such as bounds between which a type has no value.
    """
    fills = []
    for name, (entry, part) in parts.items():
        if (initializer := entry.initializer) is None:
            continue
        try:
            law = law_for(part.memory, initializer, entry.layout)
        except IsoinitError as error:
            raise PlanError(f"nothing was changed: {name!r}: {error}") from None
        stream = Stream(seed, entry.key)
        fills.append(Fill(name, part.memory, initializer, entry.layout, stream, law, part.piece))
    return fills
