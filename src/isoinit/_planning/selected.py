"""What conversions of a model share: which parameters are meant, what holds them, what is refused.

A conversion makes other parameters of a model's own: distributions (`isoinit.variational`), or the
weights that are kept (`isoinit.sparse`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from isoinit._planning.overrides import match_patterns
from isoinit._planning.plan import Plan
from isoinit._reading.torch.names import named_modules
from isoinit.errors import ArgumentError, PlanError

Chosen: TypeAlias = (
    "Literal['weights', 'all'] | str | Sequence[str] | Callable[[str, nn.Parameter], bool]"
)


@dataclass(frozen=True)
class Holder:
    """A module's own name for a parameter."""

    module: nn.Module
    attribute: str


def choose_parameters(
    parameters: Chosen, known: Mapping[str, nn.Parameter], aliases: Mapping[str, str], plan: Plan
) -> list[str]:
    """The names of the parameters that are meant, in the order of the model.

    Args:
        parameters: "weights" for every weight matrix, kernel and table; "all"; a name or glob, or
            several; or a function of name and parameter.
        known: the model's parameters, by name.
        aliases: for each further name of a shared parameter, the name that it goes by.
        plan: the model's.

    Raises:
        ArgumentError: if none is meant.
        UnknownParameterError: for a pattern that matches nothing.
        PlanError: if the plan lacks a parameter.
    """
    if callable(parameters):
        names = [name for name, parameter in known.items() if parameters(name, parameter)]
    elif parameters == "all":
        names = list(known)
    elif parameters == "weights":
        names = [name for name in known if name in plan and plan[name].layout.is_map]
        if missing := [name for name in known if name not in plan]:
            raise PlanError(
                f"nothing was changed: the plan has no entry for {missing[0]!r}; make the plan from "
                "this model"
            )
    else:
        patterns = [parameters] if isinstance(parameters, str) else list(parameters)
        matched = match_patterns(patterns, roles_of(known, plan), aliases)
        names = [name for name in known if name in matched]
    if not names:
        raise ArgumentError(
            f"parameters={parameters!r} chooses none of the model's {len(known)} parameters; name "
            'some, or use "all"'
        )
    return names


def roles_of(names: Mapping[str, Any] | Sequence[str], plan: Plan) -> dict[str, str]:
    """The planned role of each parameter; empty where there is none."""
    return {name: plan[name].role if name in plan else "" for name in names}


def holders_of(
    model: nn.Module, known: Mapping[str, nn.Parameter], chosen: Sequence[str]
) -> dict[str, list[Holder]]:
    """The modules that hold each chosen parameter."""
    names = {id(known[name]): name for name in chosen}
    held: dict[str, list[Holder]] = {name: [] for name in chosen}
    for _, module in named_modules(model):
        for attribute, parameter in module._parameters.items():
            name, holder = names.get(id(parameter)), Holder(module, attribute)
            if name is not None and holder not in held[name]:
                held[name].append(holder)
    return held


def refuse_wrapped(model: nn.Module) -> None:
    """Refuse scripted models, and wrappers that list the parameters once, at their start.

    Raises:
        ArgumentError: naming the wrapper.
    """
    for module in model.modules():
        for cls in type(module).__mro__:
            if cls.__name__ == "ScriptModule":
                raise ArgumentError(
                    "the model is scripted, and what it computes is fixed: convert before torch.jit"
                )
            if cls.__name__ in (
                "DistributedDataParallel",
                "FullyShardedDataParallel",
                "FSDPModule",
            ):
                raise ArgumentError(
                    f"the model is wrapped in {cls.__name__} already, which would not synchronize "
                    "the new parameters; convert first, then wrap"
                )


def parametrized(module: nn.Module, attribute: str, parametrization: nn.Module) -> None:
    """Have a module's parameter computed by a parametrization from now on.

    The parametrization is not called now, as torch's own function would do to try it. Recurrent
    layers hand their kernels a list of weights that is made once; here the list is a property
    that asks for them each time.
    """
    parametrize.register_parametrization(module, attribute, parametrization, unsafe=True)
    if isinstance(module, nn.RNNBase):
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
