"""The values that parameters have before a plan: held, postponed, or given by the model itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from isoinit._planning.copies import copies_of
from isoinit._planning.recipes.calls import key_of, law_of, some_of
from isoinit._planning.recipes.rerun import Seen, is_poison, rerun
from isoinit._planning.recipes.values import words_for
from isoinit._reading.torch.kept import why_not_drawn
from isoinit._reading.torch.look import look_at
from isoinit._reading.values import FEW, Values, is_unround
from isoinit._system.private import FakeTensor
from isoinit._writing.deferred import is_deferring
from isoinit._writing.own_init import constructor_of, own_calls
from isoinit._writing.postponed import Write, writes_left
from isoinit.errors import ArgumentError, PlanError, did_you_mean
from isoinit.initializers import Initializer
from isoinit.initializers.scale import fans

KEEP = ("own", "frozen", "nothing")
UNWRITTEN = Values("unwritten")
EXACT = 1e-6  # relative, of a type that tells random numbers apart
FARTHEST = 6.0  # standard deviations, which a normal number exceeds once in 500 million times
# What makes a tensor, and what writes values into one.
MAKES = frozenset(
    "zeros ones full rand randn tensor as_tensor linspace logspace arange eye".split()
)
WRITES = frozenset("fill_ zero_ copy_ zeros_ ones_ constant_ normal_ uniform_ eye_ dirac_".split())


def refuse_keep(keep: str) -> None:
    """Refuse an unknown value of `keep`.

    Raises:
        ArgumentError: naming those that are known.
    """
    if keep not in KEEP:
        near = did_you_mean(keep, KEEP)
        raise ArgumentError(f"keep={keep!r}: expected one of {', '.join(KEEP)}{near}")


def values_before(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], keep: str
) -> tuple[dict[str, Values], tuple[str, ...]]:
    """Return what is known of the values of a model's parameters, as far as a plan may keep them.

    Args:
        model: left as it was.
        parameters: its parameters, by name.
        keep: "own" for all of them, "frozen" for those that are not trained, "nothing".

    Returns:
        The values by name, and what is doubtful, in sentences.
    """
    undrawn = {n: why for n, p in parameters.items() if (why := why_not_drawn(p))}
    types = {name: Values("unwritten", kept="type", because=why) for name, why in undrawn.items()}
    parameters = {name: p for name, p in parameters.items() if name not in undrawn}
    if keep == "nothing":
        return types, ()
    frozen = {name: p for name, p in parameters.items() if not p.requires_grad}
    asked = parameters if keep == "own" else frozen
    found = {name: _held(parameter) for name, parameter in asked.items()}
    if _came_empty(model, asked, found):
        found = dict.fromkeys(asked, UNWRITTEN)
    found |= _drawn_by_layers(model, parameters, found)
    waiting = [name for name in asked if found[name] is UNWRITTEN]
    given, notes = _given(model, parameters, waiting)
    found |= given
    copies = copies_of(parameters, frozen)
    for name in frozen:
        if (of := copies.get(name)) is not None:
            because = f"a copy of {of!r}, which it follows"
            found[name] = replace(found[name], kept="copy", because=because, copies=of)
        else:
            found[name] = replace(found[name], kept="frozen", because="it is not trained")
    return types | found, notes


def _held(parameter: nn.Parameter) -> Values:
    """Return what is known of the values that a parameter holds, or that are postponed for it."""
    if writes := writes_left(parameter):
        return _written(parameter, writes)
    return look_at(parameter) if has_values(parameter) else UNWRITTEN


def has_values(tensor: torch.Tensor) -> bool:
    """Return whether the values of a tensor can be read here, alike on all ranks.

    Of a tensor whose fill is postponed they cannot: it holds what lay in memory.
    """
    elsewhere = tensor.is_meta or bool(writes_left(tensor)) or isinstance(tensor, FakeTensor)
    sharded = type(tensor).__name__ == "DTensor"
    return not elsewhere and not sharded and not isinstance(tensor, UninitializedParameter)


def _came_empty(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], found: Mapping[str, Values]
) -> bool:
    """Return whether the parameters of a model hold what lay in memory, as after `to_empty`.

    Then all weights may be of one number, such as zero. Or nothing was ever written into any of them,
    and few of those look random that layers fill by a method of their own.
    """
    held = {n: p for n, p in parameters.items() if p.dim() > 1 and has_values(p)}
    if not held:
        return False
    if all(found[name].kind in ("constant", "unwritten") for name in held):
        return True
    if any(p._version for p in held.values()):
        return False
    names = {id(p): name for name, p in held.items()}
    layers = [module for module in model.modules() if constructor_of(module)]
    mine = {names[id(p)] for m in layers for p in m._parameters.values() if id(p) in names}
    random = sum(found[name].kind == "random" for name in mine)
    return 2 * random < len(mine)


def _drawn_by_layers(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], found: Mapping[str, Values]
) -> dict[str, Values]:
    """Return what the layers that parameters belong to tell of those that do not tell it themselves.

    A few numbers do not show whether they are random; the constructor that fills them does. What a
    constructor makes by `torch.empty` alone holds what lay in memory.
    """
    names = {id(p): name for name, p in parameters.items() if name in found}
    told: dict[str, Values] = {}
    for module in model.modules():
        mine = {key: names[id(p)] for key, p in module._parameters.items() if id(p) in names}
        small = {key: n for key, n in mine.items() if _may_be_drawn(parameters[n], found[n])}
        if mine and _leaves_empty(type(module)):
            empty = [n for n in mine.values() if not parameters[n]._version]
            told.update((n, UNWRITTEN) for n in empty if found[n].kind != "random")
        if not small or not constructor_of(module) or is_deferring():
            continue
        seen = rerun(module, 0)
        for key, name in small.items():
            values = _in_law(parameters[name], seen[key].writes, found[name])
            told.update({name: values} if values else {})
    return told


def _moments(law: Initializer, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the mean and the standard deviation of a tensor with this distribution."""
    layout = fans.of_tensor(shape) if len(shape) > 1 else fans.vector(shape)
    return law.mean_for(layout), law.std_for(layout)


def _may_be_drawn(parameter: nn.Parameter, values: Values) -> bool:
    """Return whether only a layer's constructor can tell if it drew a few numbers.

    Nobody writes down numbers of so many digits. Small vectors of them are taken for drawn anyway.
    A short type rounds all numbers to a few digits.
    """
    if values.sample is None or values.size >= FEW or values.kind not in ("random", "constant"):
        return False
    if torch.finfo(parameter.dtype).eps > EXACT:
        return values.kind == "random" or values.size == 1
    some = values.sample.ravel().tolist()
    small = parameter.dim() == 1 and all(abs(value) < 1 for value in some)
    return not small and (values.kind == "random" or values.size == 1) and is_unround(some[0])


def _in_law(parameter: nn.Parameter, writes: Iterable[Write], values: Values) -> Values | None:
    """Return values as random ones, if they may be from the one random fill that writes them."""
    law = law_of([*writes], parameter)
    if law is None or values.sample is None:
        return None
    mean, std = _moments(law, tuple(parameter.shape))
    if bool((abs(values.sample - mean) > FARTHEST * std).any()):
        return None
    return Values("random", f"values like {words_for(law)}", mean, mean**2 + std**2, values.sample)


def _leaves_empty(kind: type) -> bool:
    """Return whether a class's own constructor makes tensors by `torch.empty` and in no other way.

    A look at the names that it mentions, since zeros cannot be told from memory that was zero.
    """
    codes = [getattr(vars(c).get("__init__"), "__code__", None) for c in kind.__mro__]
    own = kind.__module__.partition(".")[0] != "torch"
    names = {name for code in codes if code is not None for name in code.co_names}
    return own and "empty" in names and not names & (MAKES | WRITES)


def _given(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], waiting: list[str]
) -> tuple[dict[str, Values], tuple[str, ...]]:
    """Return what a model's own initialization gives the parameters without values."""
    if not waiting or is_deferring() or not any(own_calls(model)):
        return {}, ()
    try:
        seen = rerun(model, 0)
    except PlanError as failure:
        why = str(failure).removeprefix("recipe='own': ").partition("; nothing was changed")[0]
        return {}, (
            f"the constructor's values of {waiting[0]!r} and {len(waiting) - 1} more are not known: "
            f"they have no values yet and {why}; if the constructor sets a special value, build the "
            "model with values, or under isoinit.deferred()",
        )
    return dict(_all_given(parameters, {name: seen[name] for name in waiting})), ()


def _all_given(
    parameters: Mapping[str, nn.Parameter], seen: Mapping[str, Seen]
) -> Iterator[tuple[str, Values]]:
    met: dict[object, Values] = {}  # layers that repeat are looked at once
    for name, what in seen.items():
        parameter = parameters[name]
        if what.values is not None:
            yield name, look_at(what.values)
            continue
        key = key_of(parameter, what.writes)
        if key not in met:
            met[key] = _written(parameter, what.writes)
        yield name, met[key]


def _written(parameter: nn.Parameter, writes: Iterable[Write]) -> Values:
    """Return what is known of the values that postponed writes give a parameter."""
    writes = [*writes]
    if len(writes) == 1 and is_poison(writes[0]):
        return UNWRITTEN
    shape = tuple(parameter.shape)
    if (law := law_of(writes, parameter)) is not None:
        mean, std = _moments(law, shape)
        return Values("random", f"values like {words_for(law)}", mean, mean**2 + std**2)
    return look_at(some_of(shape, parameter.dtype, writes))
