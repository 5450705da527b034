"""Applies a plan to a model, whole or one rank's part of it: validated whole, then written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn
from torch.nn.utils import parametrize

from isoinit._drawing.streams import Stream, philox
from isoinit._reading.torch.memory import OWN, lie_apart
from isoinit._reading.torch.names import Modules, named_modules
from isoinit._system.alone import alone
from isoinit._system.collecting import uncollected
from isoinit._system.processes import Facts, agree
from isoinit._system.signals import check_signals
from isoinit._writing.assigning import Followed, follow, following, refresh
from isoinit._writing.counted import count_anew
from isoinit._writing.entry import Entry
from isoinit._writing.fill import fill_tensors
from isoinit._writing.meta import (
    Buffers,
    Emptied,
    buffer_values,
    give_memory,
    kept_parameters,
    restore_buffers,
)
from isoinit._writing.own_init import forget_loaded
from isoinit._writing.placements import Held, groups_of, held, held_in, write_part
from isoinit._writing.postponed import as_constructed, forget, run_postponed
from isoinit._writing.refusals import (
    is_as_planned,
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

    def under(self, seed: int, modules: Modules) -> _Prepared:
        """Return the same under another seed: one that has been worked out on another rank."""
        if seed == self.seed:
            return self
        followed = follow(modules, self.chosen, seed, self.buffers)
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
    # Thousands of tuples for thousands of parameters would have Python look for circles, in vain.
    with alone(), uncollected():
        modules = named_modules(model)
        held, tied = held_in(modules)
        # Most are plain; the others may be sharded, or without memory.
        others = {name: part for name, part in held.items() if part.address is None}
        meta = {name: part.tensor for name, part in others.items() if part.tensor.is_meta}

        def prepare() -> tuple[Facts, int, _Prepared]:
            said, offered = offered_seed(seed)
            wanted = _wanted(plan, held, meta, tied, only_missing, asked)
            chosen = _chosen(plan, held, wanted)
            bare = {name: tensor for name, tensor in meta.items() if name in chosen}
            ready = _prepared(plan, modules, chosen, held, bare, buffers, offered)

            def facts() -> dict[str, str]:
                left = ", ".join(name for name in held if name not in chosen)
                streams = str(philox.DEFINITION)
                return {"plan": plan.digest, "seed": said, "streams": streams, "kept": left}

            return facts, offered, ready

        used, prepared = agree(prepare, groups_of(modules, others.values()))
        # The first rank has worked out the same under this seed, and did not fail.
        ready = prepared.under(used, modules)
        if meta:
            give_memory(model, [held[name].tensor for name in held if name not in ready.chosen])
            held, _ = held_in(modules)
        restore_buffers(modules, {**ready.buffers, **ready.followed.buffers})
        with _stoppable(len(ready.chosen), used) as filled:
            _fill(ready.chosen, held, used, ready.values, filled)
        refresh(modules)
        parametrize._cache.clear()  # inside `parametrize.cached()` it would hold the weights of before
        return used


def _fill(
    entries: Entries,
    held: Mapping[str, Held],
    seed: int,
    values: Mapping[str, torch.Tensor],
    filled: Filled = lambda _names: None,
) -> None:
    """Fill parameters, or this rank's parts of them, by name.

    Args:
        entries: of the parameters to fill.
        held: these parameters, and maybe others.
        seed: as for `Plan.apply`.
        values: whole values of parameters that only the model knows; see `assigning.follow`.
        filled: called with the names of parameters as soon as they are filled. What it raises ends
            the fill.
    """

    def note(names: Sequence[str], tensors: Sequence[torch.Tensor]) -> None:
        _tell(tensors)
        filled(names)

    drawn = {}
    for name, entry in entries.items():
        if entry.initializer is not None and name not in values:
            drawn[name] = entry
        elif name not in values:
            run_postponed(held[name].tensor, Stream(seed, entry.key))
            filled([name])
    fill_tensors(drawn, held, seed, note)
    for name, value in values.items():
        write_part(held[name], value)
        note([name], [held[name].tensor])


def _tell(tensors: Sequence[torch.Tensor]) -> None:
    """Have everyone who keeps account of parameters know that these have values now."""
    # What is sharded was written behind its back too.
    others = [tensor for tensor in tensors if type(tensor) not in OWN]
    torch.autograd.graph.increment_version([t for t in others if type(t).__name__ == "DTensor"])
    forget(tensors)
    forget_loaded(tensors)
    count_anew(tensors)


@contextmanager
def _stoppable(count: int, seed: int) -> Iterator[Filled]:
    """Have errors that end a fill, such as that of a signal, say what is filled; gives `filled`."""
    done: list[str] = []

    def filled(names: Sequence[str]) -> None:
        done.extend(names)
        if len(done) < count:
            check_signals()

    try:
        yield filled
    except BaseException as error:
        few = ", ".join(map(repr, done[:3])) + (f" and {len(done) - 3} more" * (len(done) > 3))
        told = (
            f"stopped after {len(done)} of {count} parameters were filled ({few or 'none'}). The "
            "others have no initial values yet. To complete the model, apply the plan (or call "
            f"isoinit.init) again with seed={seed}"
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
    values = values or {}
    parts = {name: held(name, tensor) for name, tensor in parameters.items()}
    mine = {name: entries[name] for name in parameters}
    with alone():
        _refuse_undrawable(mine, values)
        _fill(mine, parts, seed, values)


def fill_within(
    entries: Entries, model: nn.Module, parameters: Mapping[str, torch.Tensor], seed: int
) -> None:
    """Fill some parameters of a model, by name, and what follows from the weights made of them.

    Raises:
        PlanError: if an initializer does not fit a parameter; nothing was changed then.
    """
    mine = {name: entries[name] for name in parameters if entries[name].initializer is not None}
    modules = named_modules(model)
    followed = follow(modules, mine, seed)
    fill_parameters(entries, parameters, seed, followed.parameters)
    restore_buffers(modules, followed.buffers)


def _prepared(
    plan: Planned,
    modules: Modules,
    chosen: dict[str, Entry],
    held: Mapping[str, Held],
    meta: Mapping[str, torch.Tensor],
    buffers: Buffers,
    seed: int,
) -> _Prepared:
    """What follows from weights that modules compute, and the values of buffers without.

    `meta` are those of the chosen parameters that are on the meta device.
    """
    kept = _kept(plan, modules[0][1], meta, buffers)
    followed = follow(modules, chosen, seed)
    tensors = (part.tensor for part in held.values())
    values = buffer_values(modules, tensors, buffers, plan.emptied, followed.buffers)
    if values:  # some of which a weight may depend on
        followed = follow(modules, chosen, seed, values)
    return _Prepared(chosen, kept, values, seed, followed)


def _wanted(
    plan: Planned,
    held: Mapping[str, Held],
    meta: Iterable[str],
    tied: Mapping[str, str],
    only_missing: Given | None,
    asked: Callable[[], Collection[str]] | None,
) -> Mapping[str, Held]:
    """The parameters that the caller wants to have filled or kept, and that he does not load."""
    there = [] if only_missing is None else parameters_in(stored(only_missing), held, tied)
    left = {*there, *(name for name in meta if _is_to_come(plan, name))}
    wanted = {name: part for name, part in held.items() if name not in left} if left else held
    if asked is None:
        return wanted
    names = asked()
    mine = {tied.get(name, name) for name in names}
    return {n: part for n, part in wanted.items() if n in mine or plan.aliases.get(n) in names}


def _is_to_come(plan: Planned, name: str) -> bool:
    """Return whether a parameter without memory is one that the caller loads or fills himself."""
    entry = plan.entries.get(plan.aliases.get(name, name))
    return entry is not None and entry.kept in ("loaded", "only")


def _chosen(
    plan: Planned, held: Mapping[str, Held], wanted: Mapping[str, Held]
) -> dict[str, Entry]:
    """The entries of the parameters that are to be filled; what cannot be done is refused."""
    entries, aliases = plan.entries, plan.aliases
    known = entries
    if aliases:
        known = {name: entries[of] for name in held if (of := aliases.get(name, name)) in entries}
    # Most are as planned, and nothing is wrong with these.
    odd = {name: part for name, part in held.items() if not is_as_planned(part, known.get(name))}
    refuse_unready({name: part.tensor for name, part in odd.items()}, now=False)
    refuse_mismatch(entries, odd, aliases, some=True)
    chosen = {name: known[name] for name in wanted}
    drawn = {
        n: part for n, part in odd.items() if n in chosen and chosen[n].initializer is not None
    }
    refuse_unfillable({name: part.tensor for name, part in drawn.items()}, now=False)
    _refuse_shared(held, chosen)
    _refuse_undrawable(chosen, following(chosen))
    parted = [name for name in chosen if name in aliases and aliases[name] in chosen]
    if parted:
        warnings.warn(
            f"{parted[0]!r} was tied to {aliases[parted[0]]!r} in the plan, but is not tied now "
            "(to_empty separates tied parameters). Both get the same values, but training will "
            "change them separately. Tie them again (in transformers, with model.tie_weights())",
            IsoinitWarning,
            stacklevel=5,
        )
    return chosen


def _kept(
    plan: Planned,
    model: nn.Module,
    meta: Mapping[str, torch.Tensor],
    buffers: Buffers,
) -> dict[str, nn.Parameter]:
    """What holds the values of those on the meta device that the plan leaves as they were.

    Raises:
        PlanError: if there are none for one of them.
    """
    entries, aliases = plan.entries, plan.aliases
    empty = [name for name in meta if entries[aliases.get(name, name)].initializer is None]
    values = kept_parameters(model, empty, buffers)
    left = {name: meta[name] for name in empty if name not in values}
    if fault := left_on_meta(entries, left, aliases):
        raise PlanError(f"nothing was changed: {fault}")
    return values


def _refuse_shared(held: Mapping[str, Held], chosen: Entries) -> None:
    """Raise `PlanError` for parameters that have memory in common, if one of them is drawn."""
    parts = held.values()
    if not lie_apart([part.address for part in parts], [part.size for part in parts]):
        drawn = {name for name, entry in chosen.items() if entry.initializer is not None}
        refuse_shared({name: part.place for name, part in held.items()}, drawn)


def _refuse_undrawable(entries: Entries, but: Collection[str]) -> None:
    """Raise `PlanError` for what cannot be drawn, such as between bounds where a type has no value.

    `but` are the names of those that are not drawn by themselves.
    """
    for name, entry in entries.items():
        if name not in but:
            try:
                _ = entry.law
            except IsoinitError as error:
                raise PlanError(f"nothing was changed: {name!r}: {error}") from None
