"""Which parameters of a model a conversion means, and which models it refuses. No framework.

`isoinit.sparse` and `isoinit.variational` convert what is chosen here; what they install in its
place is in `isoinit._writing.parametrized`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from isoinit._planning.overrides import match_patterns
from isoinit._planning.plan import Plan
from isoinit.errors import ArgumentError, PlanError

if TYPE_CHECKING:
    from torch import nn

Value = TypeVar("Value")
Chosen: TypeAlias = (
    "Literal['weights', 'all'] | str | Sequence[str] | Callable[[str, nn.Parameter], bool]"
)


def choose_parameters(
    parameters: Chosen, known: Mapping[str, nn.Parameter], aliases: Mapping[str, str], plan: Plan
) -> list[str]:
    """Return the names of the parameters that are meant, in the order of the model.

    Args:
        parameters: "weights" for every weight matrix, kernel and table that the plan draws; "all"; a
            name or glob, or several; or a function of name and parameter.
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
        names = [n for n in known if n in plan and plan[n].layout.is_map and not plan[n].kept]
        if missing := [name for name in known if name not in plan]:
            raise PlanError(
                f"nothing was changed: the plan has no entry for {missing[0]!r}. Make the plan "
                "from this model"
            )
    else:
        patterns = [parameters] if isinstance(parameters, str) else list(parameters)
        matched = match_patterns(patterns, roles_of(known, plan), aliases)
        names = [name for name in known if name in matched]
    if not names:
        raise ArgumentError(
            f"parameters={parameters!r} selects none of the model's {len(known)} parameters. Name "
            'at least one, or use "all"'
        )
    return names


def choose_values(
    given: Mapping[str, Value],
    roles: Mapping[str, str],
    aliases: Mapping[str, str],
    what: str,
    example: str,
) -> dict[str, Value]:
    """Return the value that a mapping gives each chosen parameter.

    Args:
        given: values by name, glob or role, of which a name or else the first that matches decides.
        roles: the role of each chosen parameter, by name.
        aliases: as for `choose_parameters`.
        what: how errors call the values: "priors".
        example: a pattern that errors suggest for the rest.

    Raises:
        ArgumentError: if no pattern matches a chosen parameter.
        UnknownParameterError: for a pattern that matches nothing.
    """
    found = match_patterns(given, roles, aliases)
    if missing := [name for name in roles if name not in found]:
        raise ArgumentError(
            f"nothing was changed: no pattern of the {what} matches {missing[0]!r}. Add a "
            f"pattern, such as {example}"
        )
    return {name: given[found[name]] for name in roles}


def roles_of(names: Mapping[str, Any] | Sequence[str], plan: Plan) -> dict[str, str]:
    """Return the planned role of each parameter; empty where there is none."""
    return {name: plan[name].role if name in plan else "" for name in names}


def require_plan(plan: object) -> None:
    """Raise if an optional plan is something else.

    Raises:
        ArgumentError: naming its type.
    """
    if plan is not None and not isinstance(plan, Plan):
        raise ArgumentError(f"plan is a {type(plan).__name__}; expected an isoinit.Plan or None")


def refuse_wrapped(model: nn.Module) -> None:
    """Raise for scripted models, and for wrappers that list the parameters once, at their start.

    Raises:
        ArgumentError: naming the wrapper.
    """
    for module in model.modules():
        for cls in type(module).__mro__:
            if cls.__name__ == "ScriptModule":
                raise ArgumentError(
                    "the model is scripted, so it cannot be converted. Convert it before torch.jit"
                )
            if cls.__name__ in (
                "DistributedDataParallel",
                "FullyShardedDataParallel",
                "FSDPModule",
            ):
                raise ArgumentError(
                    f"the model is already wrapped in {cls.__name__}, which would not synchronize "
                    "the new parameters. Convert first, then wrap"
                )
