"""The values that parameters have before a plan: held, postponed, or given by the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from isoinit._planning.copies import copies_of
from isoinit._planning.recipes.calls import law_of
from isoinit._planning.recipes.rerun import rerun
from isoinit._reading.values import Values, look
from isoinit._writing.deferred import is_deferring
from isoinit._writing.own_init import constructor_of
from isoinit._writing.postponed import writes_left
from isoinit.errors import ArgumentError
from isoinit.initializers.scale.fans import vector

KEEP = ("own", "frozen", "nothing")
FARTHEST = 6.0  # standard deviations, which a normal number exceeds once in 500 million times
LARGE = 1 << 22  # elements of a parameter, above which some of its rows are looked at
SOME = 1 << 20  # elements of these


def refuse_keep(keep: str) -> None:
    """Refuse an unknown value of `keep`.

    Raises:
        ArgumentError: naming those that are known.
    """
    if keep not in KEEP:
        raise ArgumentError(f"keep={keep!r}: expected one of {', '.join(KEEP)}")


def values_before(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], keep: str
) -> dict[str, Values]:
    """Return what is known of the values of a model's parameters, as far as a plan may keep them.

    Args:
        model: left as it was.
        parameters: its parameters, by name.
        keep: "own" for all of them, "frozen" for those that are not trained, "nothing".
    """
    if keep == "nothing":
        return {}
    frozen = {name for name, p in parameters.items() if not p.requires_grad}
    found = {
        name: _held(parameter)
        for name, parameter in parameters.items()
        if keep == "own" or name in frozen
    }
    found |= _drawn_by_layers(model, parameters, found)
    copies = copies_of(parameters, frozen)
    for name in frozen:
        if (of := copies.get(name)) is not None:
            because = f"a copy of {of!r}, which it follows"
            found[name] = replace(found[name], kept="copy", because=because, copies=of)
        else:
            found[name] = replace(found[name], kept="frozen", because="it is not trained")
    return found


def _drawn_by_layers(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], found: Mapping[str, Values]
) -> dict[str, Values]:
    """Return the small parameters that a layer's own constructor draws, as random values.

    A few numbers do not show whether they are random; the constructor that fills them does.
    """
    small = {id(parameters[n]): n for n, v in found.items() if v.kind == "few" or v.size == 1}
    drawn = {}
    for module in model.modules() if small else ():
        mine = {key: small[id(p)] for key, p in module._parameters.items() if id(p) in small}
        if not mine or not constructor_of(module) or is_deferring():
            continue
        for key, seen in rerun(module, 0).items():
            if key in mine and seen.writes and (law := law_of(seen.writes, parameters[mine[key]])):
                values, size = found[mine[key]], parameters[mine[key]].shape
                mean, std = law.mean_for(vector(size)), law.std_for(vector(size))
                if (
                    values.sample is not None
                    and (abs(values.sample - mean) <= FARTHEST * std).all()
                ):
                    drawn[mine[key]] = Values("random", values.said, mean, mean**2 + std**2)
    return drawn


def has_values(tensor: torch.Tensor) -> bool:
    """Return whether a tensor's elements can be looked at here: all of them, as numbers that stay.

    Of a tensor whose fill is postponed they cannot: it holds whatever its memory held.
    """
    return not (
        tensor.is_meta
        or writes_left(tensor)
        or isinstance(tensor, FakeTensor)
        or type(tensor).__name__ == "DTensor"
        or tensor.layout != torch.strided
        or not tensor.is_floating_point()
    )


def _held(parameter: torch.Tensor) -> Values:
    """Return what is known of the values that a parameter holds."""
    if not has_values(parameter):
        return Values("unwritten")
    tensor = parameter.detach()
    if tensor.numel() > LARGE and tensor.dim():
        rows = max(1, SOME * len(tensor) // tensor.numel() // 3)
        middle = len(tensor) // 2
        some = (tensor[:rows], tensor[middle : middle + rows], tensor[-rows:])
        tensor = torch.cat(some) if len(tensor) > 3 * rows else tensor
    exact = torch.finfo(tensor.dtype).eps < 1e-6
    return look(tensor.to("cpu", torch.float64 if exact else torch.float32).numpy(), exact=exact)
