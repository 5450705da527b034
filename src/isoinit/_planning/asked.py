"""Which parameters a call asks for, and which it says are there: a plan keeps these and all others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import torch
from torch import nn

from isoinit._planning.before import has_values, values_before
from isoinit._planning.doubts import TRAINED
from isoinit._planning.overrides import match_patterns
from isoinit._planning.recipes.values import is_constant
from isoinit._planning.trained import is_no_fill, looks_trained, optimized
from isoinit._reading.roles import Role
from isoinit._reading.torch.names import named_modules, named_parameters, names_by_id
from isoinit._reading.values import Values
from isoinit._showing.findings import listed
from isoinit._writing.entry import Entry
from isoinit._writing.own_init import was_loaded
from isoinit._writing.stored import Stored, parameters_in
from isoinit.errors import ArgumentError

Only: TypeAlias = "str | nn.Module | Sequence[str | nn.Module]"
Roles = Mapping[str, str]

UNMARKED = "from_pretrained marks it as new, but its values are no random fill; only= draws it anew"


def asked_for(
    only: Only, model: nn.Module, roles: Roles, aliases: Mapping[str, str]
) -> dict[str, str]:
    """Return the parameters that `only` asks for, each with the pattern or module that names it.

    Args:
        only: a pattern as for `choose_overrides`, a module of the model (all that lies in it), or
            several of these.
        model: whose modules these are.
        roles: the role of every parameter, by name.
        aliases: for each further name of a tied parameter, the name that it goes by.

    Raises:
        ArgumentError: if it asks for nothing, or for something that is not of the model.
        UnknownParameterError: for a pattern that matches nothing.
    """
    asked: dict[str, str] = {}
    for one in _several(only):
        if isinstance(one, nn.Module):
            name, inside = _within(one, model)
            found = [aliases.get(inner, inner) for inner in inside]
            asked |= dict.fromkeys((n for n in found if n in roles), name)
        else:
            asked |= match_patterns([one], roles, aliases)
    return asked


def asked_unseen(asked: Mapping[str, str], aliases: Mapping[str, str]) -> tuple[str, ...]:
    """Return what to say of parameters that a glob matches by another of their names alone.

    A glob for a head may so reach the embedding that the head is tied to.
    """
    found = []
    for name, by in asked.items():
        others = [other for other, first in aliases.items() if first == name]
        matched = [other for other in others if fnmatchcase(other, by)]
        if matched and by not in (name, *others) and not fnmatchcase(name, by):
            found.append(
                f"{name!r} is drawn anew, for it is tied to {matched[0]!r}, which {by!r} matches; "
                "name the parameters one by one to leave it out"
            )
    return tuple(found)


def values_to_keep(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    aliases: Mapping[str, str],
    keep: str,
    there: Stored | None,
    asked: Mapping[str, str] | None,
) -> tuple[dict[str, Values], tuple[str, ...]]:
    """Return what is known of the values of parameters, with what makes a plan keep them.

    Args:
        model: left as it was.
        parameters: its parameters, by name.
        aliases: for each further name of a tied parameter, the name that it goes by.
        keep: as for `values_before`; only with "own" is it kept what `transformers` loaded.
        there: what a checkpoint has, if one was given.
        asked: what `asked_for` found, if that was asked; what was loaded may be asked for too.

    Returns:
        The values by name, and what is doubtful, in sentences.
    """
    found, notes = values_before(model, parameters, keep)
    for name in optimized(parameters):  # no constructor gave it the values that it has
        if name in found and not found[name].kept:
            del found[name]
    kept: dict[str, tuple[str, str]] = {}
    for name, parameter in parameters.items():
        if asked is not None and name not in asked:
            kept[name] = "only", f"only {_named(asked)} asked for"
        elif keep == "own" and was_loaded(parameter):
            if asked is None:
                kept[name] = "loaded", "loaded by from_pretrained"
            elif name in found and not found[name].kept:
                del found[name]  # nor did one give it these
    kept |= _unmarked({n for n, (kind, _) in kept.items() if kind == "loaded"}, kept, parameters)
    if there is not None:
        given = parameters_in(there, parameters, aliases)
        kept |= dict.fromkeys(given, ("loaded", "it is in the checkpoint"))
    for name, (kind, because) in kept.items():
        before = found.get(name, Values("unwritten"))
        if before.kept not in ("frozen", "type"):
            found[name] = replace(before, kept=kind, because=because, copies="")
    return found, notes


def _unmarked(
    loaded: Collection[str], kept: Collection[str], parameters: Mapping[str, nn.Parameter]
) -> dict[str, tuple[str, str]]:
    """Return what keeps parameters beside loaded ones that hold loaded values without the mark.

    Adapters copy a layer that is to be trained whole, and resized embeddings are made anew.
    """
    found = {}
    for name, parameter in parameters.items():
        if not loaded or name in kept or not has_values(parameter):
            continue
        alike = [n for n in loaded if parameters[n].shape == parameter.shape]
        of = next((n for n in alike if _is_copy(parameter, parameters[n])), None)
        if of is not None:
            found[name] = "loaded", f"a copy of {of!r}, which from_pretrained loaded"
        elif parameter.dim() > 1 and is_no_fill(parameter):
            found[name] = "loaded", UNMARKED
    return found


def _is_copy(parameter: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two parameters hold the same values, and not one number alone."""
    same = parameter.dtype == other.dtype and parameter.device == other.device
    return same and not is_constant(parameter) and torch.equal(parameter, other)


def nothing_planned(entries: Mapping[str, Entry]) -> tuple[str, ...]:
    """Return what to say of a plan that keeps every parameter; nothing of any other."""
    if any(not entry.kept or entry.initializer is not None for entry in entries.values()):
        return ()
    why = listed(list(dict.fromkeys(entry.reason for entry in entries.values())))
    asked = {entry.kept for entry in entries.values()} <= {"loaded", "only"}
    some = "pass only= for those to draw anew, or " if asked else "pass "
    return (
        f"nothing is initialized: every parameter is {why}; {some}"
        'keep="nothing" to draw all that is asked for',
    )


def drawn_over(
    roles: Mapping[str, Role],
    entries: Mapping[str, Entry],
    parameters: Mapping[str, nn.Parameter],
) -> tuple[str, ...]:
    """Return what to say of a plan that draws a model anew that looks trained, and marks nothing.

    Args:
        roles: what each parameter is for.
        entries: what a plan gives it.
        parameters: the model's, by name.
    """
    mine = {name: role for name, role in roles.items() if entries[name].kept in ("", "own")}
    if all(entries[name].kept for name in mine) or not (said := looks_trained(mine, parameters)):
        return ()
    return (
        f"{TRAINED}: {said}; its weights will be drawn anew: pass only= or only_missing= "
        'to keep what is there, or call requires_grad_(False) on it; keep="nothing" says that you '
        "mean it",
    )


def _several(only: Only) -> Sequence[str | nn.Module]:
    given = [only] if isinstance(only, (str, nn.Module)) else only
    if not isinstance(given, Sequence) or not given:
        raise ArgumentError(
            f"only={only!r}: expected a name, a glob such as 'head.*', a module of the model, or "
            "a non-empty list of these"
        )
    return given


def _within(module: nn.Module, model: nn.Module) -> tuple[str, list[str]]:
    """Return the name of a module of a model, and the names of the parameters in it.

    Raises:
        ArgumentError: if it is none, or has none.
    """
    prefix = next((name for name, other in named_modules(model) if other is module), None)
    if prefix is None:
        raise ArgumentError(
            f"only: the {type(module).__name__} is not a module of the {type(model).__name__}. "
            "Pass a module of this model, such as model.head, or a pattern of names"
        )
    known = names_by_id(model)
    mine = {known[id(parameter)] for parameter in module.parameters()}
    names = [name for name in named_parameters(model)[0] if name in mine]
    if not names:
        raise ArgumentError(f"only: the module {prefix.rstrip('.')!r} has no parameters")
    return prefix.rstrip(".") or type(model).__name__, names


def _named(asked: Mapping[str, Any]) -> str:
    """Return what was asked for, with its verb: "'head.*' was"."""
    names = list(dict.fromkeys(repr(by) for by in asked.values()))
    return f"{listed(names)} {'was' if len(names) == 1 else 'were'}"
