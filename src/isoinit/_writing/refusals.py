"""What is refused before the first write: tensors that cannot be filled, and plans that do not fit.

Nothing here writes, and every fault is found before anything is written, so that a model is either
filled whole or left as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.parameter import UninitializedParameter

from isoinit._reading.torch.fakes import FAKE, is_fake
from isoinit._reading.torch.kept import DRAWN, is_computed, why_not_drawn
from isoinit._reading.torch.memory import OWN
from isoinit._showing.findings import listed
from isoinit._writing.entry import Entry, law_for
from isoinit._writing.fill import ARRAYS, array_type
from isoinit._writing.placements import Held
from isoinit._writing.sharing import meets_itself
from isoinit.errors import IsoinitError, PlanError
from isoinit.initializers import Assigned, Initializer
from isoinit.initializers.scale.fans import Layout


def refuse_unready(tensors: Mapping[str, torch.Tensor], *, now: bool) -> None:
    """Raise for parameters that must be made ready first: lazy, on the meta device, or sharded.

    Those that are never drawn (`kept.why_not_drawn`) are no fault: they are left as they are.

    Args:
        tensors: as for `refuse_unfillable`.
        now: as there.

    Raises:
        PlanError: as there.
    """
    _refuse({name: _unready(tensor, now=now) for name, tensor in tensors.items()})


def refuse_unfillable(tensors: Mapping[str, torch.Tensor], *, now: bool) -> None:
    """Raise for tensors that cannot hold initial values, all of them at once.

    Args:
        tensors: the parameters, by name.
        now: whether they are to be filled at once, so that tensors on the meta device and sharded ones
            are refused, or only planned for.

    Raises:
        PlanError: naming the first tensor of each kind of fault, what it is, and what to do.
    """
    _refuse({name: _fault(tensor, now=now) for name, tensor in tensors.items()})


def _refuse(found: Mapping[str, str]) -> None:
    """Raise for the faults of parameters, by name; "" is none."""
    faults: dict[str, list[str]] = {}
    for name, fault in found.items():
        if fault:
            faults.setdefault(fault, []).append(repr(name))
    if faults:
        said = [
            f"{names[0]}{f' (and {len(names) - 1} more)' if len(names) > 1 else ''} {fault}"
            for fault, names in faults.items()
        ]
        raise PlanError(f"nothing was changed: parameter {'; '.join(said)}")


def _fault(tensor: torch.Tensor, *, now: bool) -> str:
    if why_not_drawn(tensor) and is_computed(tensor):
        return (
            f"is a {type(tensor).__name__}, which computes its values; expected a plain tensor. "
            "Initialize the model before converting it"
        )
    if why_not_drawn(tensor) and tensor.dtype in DRAWN:
        return (
            f"is stored as {tensor.layout}; expected a dense tensor. Initialize the model before "
            "converting it"
        )
    if why_not_drawn(tensor):
        return (
            f"has dtype {_name(tensor.dtype)}; expected float32, float64, float16, bfloat16 or a "
            "complex type. Initialize the model before quantizing it"
        )
    plain = type(tensor) in OWN and tensor.is_contiguous()  # most are
    if not plain and meets_itself(tensor):
        return (
            "has elements that share memory (an expanded tensor, or a view that overlaps itself). "
            "Make it contiguous first, p.data = p.data.contiguous()"
        )
    return _unready(tensor, now=now)


def _unready(tensor: torch.Tensor, *, now: bool) -> str:
    plain = type(tensor) in OWN and not tensor.is_meta
    if plain:
        return ""  # most are
    if isinstance(tensor, UninitializedParameter):
        return "has no shape yet (a lazy layer). Run the model once on a batch first"
    if now and tensor.is_meta:
        return (
            "is on the meta device and has no memory. Call model.to_empty(device='cpu') first, "
            "then apply. Also set the buffers, because to_empty leaves them without values"
        )
    if now and is_fake(tensor):
        return FAKE
    if now and type(tensor).__name__ == "DTensor":  # importing the class would be slow
        return (
            "is a sharded DTensor. Do this before the model is sharded (Plan.apply also works "
            "after)"
        )
    return ""


def is_as_planned(part: Held, entry: Entry | None) -> bool:
    """Return whether a parameter is plain, and of the shape and type that a plan expects.

    Nothing here refuses such a one.
    """
    tensor = part.tensor
    return (
        entry is not None
        and part.address is not None
        and tensor.shape == entry.layout.shape
        and _NAMES.get(tensor.dtype) == entry.dtype
    )


def misfit(tensor: torch.Tensor, initializer: Initializer | None, layout: Layout) -> str:
    """Return why an initializer cannot fill a tensor, as `Plan.apply` would say; "" if it can."""
    if initializer is None:
        return ""
    try:
        dtype = array_type(tensor.dtype)
        if isinstance(initializer, Assigned):  # the module was asked already
            initializer.require_fit(layout, dtype)
        else:
            law_for(initializer, layout, dtype)
    except IsoinitError as error:
        return str(error)
    return ""


def left_on_meta(
    entries: Mapping[str, Entry],
    parameters: Mapping[str, torch.Tensor],
    aliases: Mapping[str, str] | None = None,
) -> str:
    """Return what is wrong with parameters on the meta device that a plan leaves as they were.

    Args:
        entries: the plan's, with one for each parameter.
        parameters: by name.
        aliases: the plan's further names of tied parameters.

    Returns:
        Their names, why they are left, and what to do; "" if there are none.
    """
    left, fillable = {}, False
    for name, parameter in parameters.items():
        entry = entries[(aliases or {}).get(name, name)]
        if parameter.is_meta and entry.initializer is None:
            left[name] = entry.reason
            fillable = fillable or not why_not_drawn(parameter)
    if not left:
        return ""
    names, why = listed([repr(name) for name in left]), listed(list(dict.fromkeys(left.values())))
    if len(left) == 1:
        said = f"parameter {names} is on the meta device, and the plan leaves it unchanged"
    else:
        said = f"parameters {names} are on the meta device, and the plan leaves them unchanged"
    give = (
        f"Give an initializer, plan[{next(iter(left))!r}] = ..., or build" if fillable else "Build"
    )
    return (
        f"{said} ({why}). But there are no values to leave, and the model's own initialization "
        "sets none. Pass a function that builds the model again, apply(model, buffers=build). "
        f"{give} the model under isoinit.deferred() instead"
    )


def refuse_mismatch(
    entries: Mapping[str, Entry],
    parameters: Mapping[str, Any],
    aliases: Mapping[str, str] | None = None,
    *,
    some: bool = False,
) -> None:
    """Raise for parameters that are not those of a plan.

    Args:
        entries: the plan's.
        parameters: what has a shape and a dtype, by name.
        aliases: the plan's further names of tied parameters, which are known then too.
        some: whether the plan may have more.

    Raises:
        PlanError: naming what differs.
    """
    named = {(aliases or {}).get(name, name) for name in parameters}
    faults = [f"the plan has no entry for {n!r}" for n in sorted(named - entries.keys())]
    if not some:
        faults += [f"the model has no parameter {name!r}" for name in entries if name not in named]
    for name, tensor in parameters.items():
        entry = entries.get((aliases or {}).get(name, name))
        if entry is None:
            continue
        if tensor.shape != entry.shape:
            shape = tuple(tensor.shape)
            faults.append(f"{name!r} has shape {shape}, but the plan expects {entry.shape}")
        elif (found := _name(tensor.dtype)) != entry.dtype:
            faults.append(f"{name!r} is {found}, but the plan expects {entry.dtype}")
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise PlanError(
            f"nothing was changed: {'; '.join(faults[:3])}{more}. Make the plan from this model, "
            "or apply it to the model that it was made from"
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


_NAMES = {dtype: _name(dtype) for dtype in ARRAYS}
