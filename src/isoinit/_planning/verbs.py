"""The verbs of the library: `read` a model, `plan` its initial parameters, `init` it in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from isoinit._planning.charts import carried_all, stored
from isoinit._planning.choose import Expected, choose_all, doubts, expected
from isoinit._planning.plan import Plan
from isoinit._planning.propagation import hardly_meant
from isoinit._planning.rules import Choice, left
from isoinit._reading.graph import Graph
from isoinit._reading.reading import Reading
from isoinit._reading.roles import Role, read_roles
from isoinit._system.packages import needs
from isoinit._writing.entry import Entry
from isoinit.errors import TraceError
from isoinit.initializers import Initializer

if TYPE_CHECKING:
    from torch import nn


def plan(
    model: nn.Module,
    batch: Any = None,
    *,
    method: str = "auto",
    recipe: str | None = None,
    overrides: Mapping[str, Initializer] | None = None,
) -> Plan:
    """Choose the initializer of every parameter, with a reason and a source; changes nothing.

    The model's forward is run once on fake tensors, which take no memory and no time, and on the
    example itself where it needs real values. What follows each weight (an activation, a residual
    sum, a norm layer) decides what the weight gets.

    Args:
        model: any model, on any device, meta too.
        batch: an example input: a tensor for `model(batch)`, a tuple for `model(*batch)`, or a
            mapping for `model(**batch)`. Without one an example is made from the config of a
            `transformers` model, or for the first layer of a model that takes one tensor. Where
            that fails, the plan is a guess from the modules in the order of their registration, and
            each entry says so.
        method: "auto" for the rule book; or "zero", "random", "xavier", "he", "lecun",
            "orthogonal", "sparse" (very large networks, scarce resources) or "variational" (where
            uncertainty matters), put on every weight matrix where it can go.
        recipe: a recipe to follow in place of the rule book. "own" is the model's own: its
            `_init_weights`, `init_weights` or `reset_parameters` is run on memory of its own, and
            every parameter gets the distribution that it was drawn from, with our streams.
            "paper:gpt2", "paper:llama", "paper:bert", "paper:vit" and "paper:resnet" are published.
        overrides: other initializers by name, glob or role, as for `Plan.override`.

    Raises:
        ArgumentError: if the model has no parameters, method, recipe or batch is of no known kind, a
            recipe comes with a method, or an override does not fit.
        UnknownParameterError: if an override matches no parameter.
        PlanError: for parameters that cannot be initialized (integer, complex, quantized, lazy), or a
            recipe that does not fit the model.
        TraceError: if the forward refuses the batch, with the model's own error.

    Example:
        >>> import isoinit, torch
        >>> nn = torch.nn
        >>> model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
        >>> for name in ("0.weight", "2.weight"):
        ...     entry = isoinit.plan(model, torch.zeros(1, 8))[name]
        ...     print(entry.initializer, f"{entry.std:.4f}", entry.role)
        LeCunNormal() 0.3536 weight before relu
        HeNormal(gain=1.414) 0.2500 weight of the output
        >>> entry = isoinit.plan(model, torch.zeros(1, 8), recipe="own")["0.bias"]
        >>> print(entry.initializer, "|", entry.source)
        Uniform(a=-0.3536, b=0.3536) | Linear's own constructor
    """
    with needs("torch", "isoinit.plan"):
        from isoinit._planning.recipes import follow, refuse_recipe
        from isoinit._reading.torch import require_parameters, structure
        from isoinit._writing.meta import empty_buffers
        from isoinit._writing.refusals import misfit, refuse_unfillable

    parameters, aliases = require_parameters(model, "plan")
    emptied = empty_buffers(model)
    refuse_unfillable(parameters, now=False)
    if recipe is not None:
        refuse_recipe(recipe, method)
    graph, notes = _graph(model, batch)
    roles = read_roles(graph, lambda: structure(model))
    hopeless = doubts(roles) if recipe is None else ()
    if recipe is None:
        choices = choose_all(graph, roles, method)
        notes = (*notes, *hardly_meant(graph), *hopeless)
    else:
        if recipe == "own" and graph.how == "structure":
            notes = ()  # what each parameter gets does not depend on how the model was read
        found, doubtful = follow(recipe, model, graph, roles)
        notes += doubtful
        roles = {name: role for name, (role, _) in found.items()}
        choices = {name: choice for name, (_, choice) in found.items()}
        if recipe != "own":  # which has seen what the parameters themselves get
            choices = carried_all(graph, roles, choices)
    for name, choice in choices.items():
        if fault := misfit(parameters[name], choice.initializer, roles[name].layout):
            choices[name] = left(choice, fault)
    walked = expected(graph, choices)
    dtypes = {name: str(parameter.dtype) for name, parameter in parameters.items()}
    entries = _entries(graph, roles, dtypes, choices, walked)
    if recipe is not None:  # a head may start at zero: each of its units has a target of its own
        heads = [name for name, role in roles.items() if role.end == "output"]
        entries.update((name, replace(entries[name], must_differ=False)) for name in heads)
    chosen = Plan(entries, aliases, recipe or method, graph.how, notes, emptied)
    if overrides is not None:
        chosen, walked = _overridden(chosen, graph, roles, choices, overrides)
    if not hopeless:  # they say the same
        chosen.notes += walked.warnings
    return chosen


def _entries(
    graph: Graph,
    roles: Mapping[str, Role],
    dtypes: Mapping[str, str],
    choices: Mapping[str, Choice],
    walked: Expected,
) -> dict[str, Entry]:
    """The entry of every parameter, in the layout in which the model stores it."""
    layouts = {name: stored(graph, name, role.layout) for name, role in roles.items()}
    return {
        name: _entry(replace(role, layout=layouts[name]), dtypes[name], choices[name], walked)
        for name, role in roles.items()
    }


def _overridden(
    chosen: Plan,
    graph: Graph,
    roles: Mapping[str, Role],
    choices: Mapping[str, Choice],
    overrides: Mapping[str, Initializer],
) -> tuple[Plan, Expected]:
    """The plan with other initializers, and what is expected of signal and gradient then."""
    chosen.override(overrides)
    given = {e.name: e.initializer for e in chosen if e.initializer != choices[e.name].initializer}
    changed = {name: replace(choices[name], initializer=new) for name, new in given.items()}
    choices = carried_all(graph, roles, {**choices, **changed}, given)
    walked = expected(graph, choices)
    for name, entry in chosen.entries.items():
        chosen.entries[name] = replace(
            entry,
            initializer=choices[name].initializer,
            expected=walked.signal.get(name),
            expected_gradient=walked.gradient.get(name),
        )
    return chosen, walked


def read(model: nn.Module, batch: Any = None) -> Reading:
    """Read a model: the chain of its layers, with the functions between them; changes nothing.

    Args:
        model: any model, on any device, meta too.
        batch: an example input, as for `plan`.

    Returns:
        What was read. Print it for a table, `to_json` it for programs, iterate over `layers`.

    Raises:
        ArgumentError, TraceError: as `plan` does.

    Example:
        >>> import isoinit, torch
        >>> nn = torch.nn
        >>> model = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 2))
        >>> isoinit.read(model).chain()
        [('0', 'input', 'gelu → 2'), ('2', 'gelu(0)', 'output')]
    """
    with needs("torch", "isoinit.read"):
        from isoinit._reading.torch import require_parameters, unwrap

    require_parameters(model, "read")
    graph, notes = _graph(model, batch)
    return Reading(type(unwrap(model)).__name__, graph, notes)


def _graph(model: nn.Module, batch: Any) -> tuple[Graph, tuple[str, ...]]:
    """The graph of a run or, where no example can be made, of the modules; and what is doubtful."""
    from isoinit._reading.torch import structure, trace, trace_made_up

    if batch is None:
        try:
            graph = trace_made_up(model)
        except TraceError as error:
            return structure(model), (f"read from its modules alone, a guess: {error}",)
    else:
        graph = trace(model, batch)
    unused = graph.unused
    named = ", ".join(map(repr, unused[:8])) + (f" and {len(unused) - 8} more" * (len(unused) > 8))
    if graph.missed:
        inside = f", perhaps what it does with {named}" if unused else ""
        return graph, (
            "part of the forward runs in compiled code that torch shows nothing of, and the run never "
            f"saw it{inside}: what comes of that part counts as not known",
        )
    if not unused:
        return graph, ()
    return graph, (
        f"the run never used {named}: no gradient comes to them from such a batch, and their layers' "
        "types alone tell what they are for; pass a batch that reaches them, or remove them",
    )


def _entry(role: Role, dtype: str, choice: Choice, walked: Expected) -> Entry:
    return Entry(
        role.parameter,
        str(role),
        choice.initializer,
        role.layout,
        dtype.removeprefix("torch."),
        choice.reason,
        choice.source,
        must_differ=role.must_differ,
        expected=walked.signal.get(role.parameter),
        expected_gradient=walked.gradient.get(role.parameter),
        target=choice.target,
        fed=role.fed_words,
        feeds=role.feeds_words,
        rule=choice.rule,
        close=choice.close,
        numbers=choice.numbers,
    )


def init(
    model: nn.Module,
    batch: Any = None,
    seed: int | None = 0,
    *,
    method: str = "auto",
    recipe: str | None = None,
    overrides: Mapping[str, Initializer] | None = None,
) -> Plan:
    """Plan a model's initial parameters and apply the plan.

    Args:
        model: filled in place.
        batch: an example input, as for `plan`.
        seed: as for `Plan.apply`.
        method: as for `plan`.
        recipe: as for `plan`.
        overrides: as for `plan`.

    Returns:
        The plan that was applied.

    Raises:
        IsoinitError: as `plan` and `Plan.apply` do; nothing was changed then.
    """
    chosen = plan(model, batch, method=method, recipe=recipe, overrides=overrides)
    chosen.apply(model, seed)
    return chosen
