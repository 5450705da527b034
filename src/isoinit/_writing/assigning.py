"""What follows from a weight that is assigned: parameters by `right_inverse`, and the buffers beside.

Everything is worked out on copies before the first write. The weight is drawn whole on every process,
so the parameters of sharded models follow without communication.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from isoinit._drawing.streams import Stream
from isoinit._reading.torch.names import Modules
from isoinit._reading.torch.parametrizations import Computed, computed_weights
from isoinit._reading.torch.replica import Replica
from isoinit._writing.entry import Entry
from isoinit._writing.fill import fill_tensor
from isoinit.errors import PlanError
from isoinit.initializers import Assigned, Initializer
from isoinit.initializers.scale.fans import Layout


@dataclass(frozen=True)
class Followed:
    """What was worked out.

    Attributes:
        parameters: whole values, by the name of the parameter.
        buffers: the same of buffers that change with a weight, such as those of power iteration.
    """

    parameters: dict[str, torch.Tensor] = field(default_factory=dict)
    buffers: dict[str, torch.Tensor] = field(default_factory=dict)


def follow(
    modules: Modules,
    entries: Mapping[str, Entry],
    seed: int,
    given: Mapping[str, torch.Tensor] | None = None,
) -> Followed:
    """Work out what follows from the weights of a model that its modules compute.

    Args:
        modules: `named_modules` of the model, on any device, sharded or not; it is not changed.
        entries: of the parameters that are to be filled, by their names in the model.
        seed: what the weights are drawn under.
        given: values for buffers that have none.

    Raises:
        PlanError: if a weight cannot be assigned.
    """
    found = Followed()
    for computed in computed_weights(modules):
        mine = {name: entries[name] for name in computed.parameters if name in entries}
        if mine and (computed.buffers or any(map(needs_model, mine.values()))):
            try:
                _follow(computed, mine, seed, given, found)
            except Exception as failure:  # whatever the user's code raises
                raise PlanError(
                    f"nothing was changed: the weight of {next(iter(mine))!r} cannot be assigned "
                    f"through right_inverse of {computed.kinds}: {failure}. Give the parameter "
                    "another initializer"
                ) from failure
    if lost := [name for name in following(entries) if name not in found.parameters]:
        raise PlanError(
            f"nothing was changed: parameter {lost[0]!r} is computed from a weight by "
            "right_inverse, but this model has no such weight. Apply the plan to the model that "
            "it was made from"
        )
    return found


def refresh(modules: Modules) -> None:
    """Compute the weights again that torch's old hooks keep from one forward to the next."""
    for module in {id(module): module for _, module in modules.hooked}.values():
        for hook in module._forward_pre_hooks.values():
            if not isinstance(hook, (SpectralNorm, WeightNorm)):
                continue
            parts = [p for p in module._parameters.values() if p is not None]
            if any(part.is_meta or type(part) is not nn.Parameter for part in parts):
                continue  # no values here, or those of one rank
            settled = {"do_power_iteration": False} if isinstance(hook, SpectralNorm) else {}
            with torch.no_grad():
                setattr(module, hook.name, hook.compute_weight(module, **settled))


def needs_model(entry: Entry) -> bool:
    """Return whether a parameter's values are known only to the model's own `right_inverse`."""
    return isinstance(entry.initializer, Assigned) and not entry.initializer.direct


def following(entries: Mapping[str, Entry]) -> list[str]:
    """Return the names of the entries that `needs_model` is true of: of most models none."""
    kinds = {type(entry.initializer) for entry in entries.values()}
    if not any(issubclass(kind, Assigned) for kind in kinds):
        return []
    return [name for name, entry in entries.items() if needs_model(entry)]


def _follow(
    computed: Computed,
    entries: Mapping[str, Entry],
    seed: int,
    given: Mapping[str, torch.Tensor] | None,
    found: Followed,
) -> None:
    """Work out one weight.

    Raises:
        ValueError: if the weight that comes out is not finite.
    """
    (word,) = Stream(seed, next(iter(entries))).child("right inverse").words(0, 1)
    replica = Replica(computed, given, int(word))
    if names := following(entries):
        entry = entries[names[0]]
        assert isinstance(entry.initializer, Assigned)
        weight = entry.initializer
        made = replica.assign(_drawn(weight.drawn, weight.layout, weight.of, entry.dtype, seed))
        for name in names:
            values = replica.originals[name]
            found.parameters[name] = values.to(computed.parameters[name].dtype)
    else:
        made = replica.hold(
            {
                name: _drawn(entry.initializer, entry.layout, entry.name, entry.dtype, seed)
                for name, entry in entries.items()
                if entry.initializer is not None
            }
        )
    if not bool(torch.isfinite(made).all()):
        raise ValueError("the resulting weight is not finite")
    for name, buffer in replica.changed.items():
        found.buffers[name] = buffer.to(computed.buffers[name].dtype)


def _drawn(
    initializer: Initializer, layout: Layout, name: str, dtype: str, seed: int
) -> torch.Tensor:
    """What an initializer draws under a name, whole, on the processor."""
    tensor = torch.empty(layout.shape, dtype=getattr(torch, dtype), device="cpu")
    fill_tensor(tensor, initializer, layout, Stream(seed, name))
    return tensor
