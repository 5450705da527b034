"""Parameters that a module computes from others: which modules hold one, and who computes it.

A conversion makes other parameters of a model's own: distributions (`isoinit.variational`), or the
weights that are kept (`isoinit.sparse`). Both install torch's parametrizations, and remove them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList, register_parametrization

from isoinit._reading.torch.names import named_modules, names_by_id
from isoinit._system.private import need


@dataclass(frozen=True)
class Holder:
    """A module's own name for a parameter."""

    module: nn.Module
    attribute: str


def holders_of(model: nn.Module, chosen: Sequence[str]) -> dict[str, list[Holder]]:
    """Return the modules that hold each chosen parameter."""
    held: dict[str, list[Holder]] = {name: [] for name in chosen}
    names = {key: name for key, name in names_by_id(model).items() if name in held}
    for _, module in named_modules(model):
        for attribute, parameter in module._parameters.items():
            name, holder = names.get(id(parameter)), Holder(module, attribute)
            if name is not None and holder not in held[name]:
                held[name].append(holder)
    return held


def parametrizations_of(module: nn.Module) -> dict[str, ParametrizationList]:
    """Return the parametrizations of a module's own parameters, by attribute."""
    # Read from _modules: the attributes of a compiled layer's wrapper are those of the layer.
    held = module._modules.get("parametrizations")
    lists = held._modules.items() if isinstance(held, nn.ModuleDict) else ()
    return {name: parts for name, parts in lists if isinstance(parts, ParametrizationList)}


def parametrization_fault(holders: Sequence[Holder]) -> str:
    """Return what is wrong with a parameter that others are computed from; "" if none are."""
    for holder in holders:
        if isinstance(holder.module, ParametrizationList):
            kinds = ", ".join(type(part).__name__ for part in holder.module)
            return (
                f"belongs to a parametrization ({kinds}). Remove it first with "
                "torch.nn.utils.parametrize.remove_parametrizations"
            )
    return ""


def parametrized(module: nn.Module, attribute: str, parametrization: nn.Module) -> None:
    """Have a module's parameter computed by a parametrization from now on.

    The parametrization is not called now, as torch's own function would do to try it. Recurrent
    layers hand their kernels a list of weights that is made once; here the list is a property
    that asks for them each time.
    """
    register_parametrization(module, attribute, parametrization, unsafe=True)
    if isinstance(module, nn.RNNBase):
        need("recurrent layers")
        vars(module).pop("_flat_weights", None)
        kind: Any = type(module)  # the layer's own: torch has just made it
        kind._flat_weights = property(_weights_now, _keep_asking)


def _weights_now(module: nn.RNNBase) -> list[torch.Tensor | None]:
    return [getattr(module, name, None) for name in module._flat_weights_names]


def _keep_asking(module: nn.RNNBase, weights: object) -> None:
    """The list is never set: every reading of it asks."""


def unparametrized(module: nn.Module, plain: Mapping[str, nn.Parameter]) -> None:
    """Give a converted module its plain class, and plain parameters in the place of computed ones.

    Not by torch's own function, which changes the class: a copy shares it with the original.
    """
    held = cast("nn.ModuleDict", module._modules["parametrizations"])
    kind = type(module)
    base = kind.__bases__[0]
    for attribute in plain:
        del held[attribute]
    if held:  # of another kind, such as weight normalization of another parameter
        rest = {key: item for key, item in vars(kind).items() if key not in {*plain, "forward"}}
        module.__class__ = type(kind.__name__, (base,), rest)
    else:
        del module._modules["parametrizations"]
        module.__class__ = base
    if isinstance(module, nn.RNNBase):
        vars(module)["_flat_weights"] = [None] * len(module._flat_weights_names)
    for attribute, parameter in plain.items():
        module.register_parameter(attribute, parameter)
    if isinstance(module, nn.RNNBase):
        module._init_flat_weights()
