"""The verbs of the library: `read` a model, `plan` its initial parameters, `init` it in one call."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from isoinit._planning.charts import carried_all
from isoinit._planning.decide import Decided, RolesOf, as_given, by_rules
from isoinit._planning.doubts import TRAINED, two_needs
from isoinit._planning.entries import entries_of
from isoinit._planning.expectations import Expected
from isoinit._planning.measured import Runs, TorchRuns
from isoinit._planning.plan import Plan
from isoinit._planning.propagation import hardly_meant, unusual
from isoinit._planning.rules import kept, left
from isoinit._reading.graph import Graph
from isoinit._reading.outline import outline
from isoinit._reading.reading import Reading
from isoinit._reading.roles import Role, read_roles
from isoinit._reading.values import Values
from isoinit._system.alone import alone
from isoinit._system.packages import needs
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError, IsoinitWarning, TraceError
from isoinit.initializers import Initializer

if TYPE_CHECKING:
    from torch import nn

    from isoinit._planning.asked import Only
    from isoinit._writing.stored import Given, Stored


def plan(
    model: nn.Module,
    batch: Any = None,
    *,
    method: str = "auto",
    recipe: str | None = None,
    overrides: Mapping[str, Initializer] | None = None,
    keep: str = "own",
    only: Only | None = None,
    only_missing: Given | None = None,
) -> Plan:
    """Return a plan: the initializer of every parameter, with a reason and a source.

    The model is not changed. Its forward pass runs once on fake tensors, which need no memory. It runs
    on the example itself if it needs real values. The operations around each weight (an activation, a
    residual sum, a norm layer) decide its initializer. If the size of a signal cannot be computed,
    the model runs once more on the example, with the plan's values in separate memory.

    Args:
        model: any model, on any device, also the meta device.
        batch: an example input without targets. A tensor, or another object that holds tensors (a
            named tuple, a packed sequence), is for `model(batch)`. A plain tuple is for
            `model(*batch)`, and a mapping for `model(**batch)`. By default an example is made from
            the config of a `transformers` model, or for the first layer of a model that takes one
            tensor. If that fails, the plan is a guess from the modules in the order of their
            registration, and each entry says so.
        method: "auto" for the rule book, or a method for every weight matrix that it fits: "zero",
            "random", "xavier", "he", "lecun", "orthogonal", "sparse" (very large networks, scarce
            resources) or "variational" (where uncertainty matters).
        recipe: a recipe that replaces the rule book. "own" is the model's own initialization: its
            `_init_weights`, `init_weights` or `reset_parameters` runs in separate memory, and every
            parameter gets the same distribution, drawn by isoinit. "paper:gpt2", "paper:llama",
            "paper:bert", "paper:vit" and "paper:resnet" are published recipes.
        overrides: other initializers by name, glob or role, as for `Plan.override`.
        keep: which parameters keep their values. "own" keeps parameters that are not trained, and
            values with a meaning from the constructor: neither a random fill nor neutral for the
            role. It also keeps what `from_pretrained` of `transformers` loaded, by the mark that it
            leaves on parameters. "frozen" keeps only parameters that are not trained
            (`requires_grad=False`), and "nothing" keeps none. `Plan.kept` lists them with reasons.
        only: the parameters to plan: a name, a glob or a role as for `overrides`, a module of the
            model (all parameters in it), or a list of these. Every other parameter is kept. The input
            of the new parameters is measured on the example, with the values that the model holds.
            A loaded parameter is planned if `only` names it. One that is not trained is kept.
        only_missing: the contents of a checkpoint, which are kept: a state dict, its keys, a
            `.safetensors` or `.pt` file, an index of shards (`*.index.json`), or a folder that holds
            one of these. Only names and shapes are read.

    Raises:
        ArgumentError: if the model has no parameters; if method, recipe, keep, only or batch is not
            valid; if a recipe is combined with a method; or if an override does not fit.
        UnknownParameterError: if an override, or a pattern of `only`, matches no parameter.
        PlanError: for parameters without a shape (lazy layers), a recipe that does not fit the model,
            or an `only_missing` that does not fit or cannot be read.
        TraceError: if the forward pass fails on the batch, with the model's own error.

    Example:
        >>> import isoinit, torch
        >>> nn = torch.nn
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
        >>> for name in ("0.weight", "2.weight"):
        ...     entry = isoinit.plan(model, torch.zeros(1, 64))[name]
        ...     print(entry.initializer, f"{entry.std:.4f}", entry.role)
        Orthogonal() 0.1250 weight before relu
        Orthogonal(gain=1.414) 0.2500 weight of the output
        >>> entry = isoinit.plan(model, torch.zeros(1, 64), recipe="own")["0.bias"]
        >>> print(entry.initializer, "|", entry.source)
        Uniform(a=-0.125, b=0.125) | Linear's own constructor
    """
    return planned(
        model,
        batch,
        method=method,
        recipe=recipe,
        overrides=overrides,
        keep=keep,
        only=only,
        only_missing=only_missing,
    )[0]


def planned(
    model: nn.Module,
    batch: Any,
    *,
    method: str,
    recipe: str | None,
    overrides: Mapping[str, Initializer] | None,
    keep: str,
    only: Only | None = None,
    only_missing: Given | None = None,
    before: Mapping[str, Values] | None = None,
) -> tuple[Plan, Decided, Any]:
    """Return what `plan` does, with what was read and decided for it, and the example.

    `before` is what else is known of the values that parameters are to have; the rest is as there.
    """
    with needs("torch", "isoinit.plan"):
        from isoinit._planning.asked import drawn_over, nothing_planned
        from isoinit._planning.before import refuse_keep
        from isoinit._planning.recipes import refuse_recipe
        from isoinit._reading.torch import require_parameters, unwrap
        from isoinit._writing.meta import empty_buffers
        from isoinit._writing.refusals import refuse_unready
        from isoinit._writing.stored import stored

    refuse_keep(keep)
    with alone():
        parameters, aliases = require_parameters(model, "plan")
        emptied = empty_buffers(model)
        refuse_unready(parameters, now=False)
        refuse_recipe(recipe, method)
        there = None if only_missing is None else stored(only_missing)
        graph, batch, notes = _graph(model, batch)
        roles_of, said = _reader(model, graph, (parameters, aliases), keep, only, there, before)
        if recipe is None:
            decided = by_rules(TorchRuns(model, batch), graph, method, roles_of)
            notes += hardly_meant(graph) + unusual(graph, decided.roles) + two_needs(graph)
        else:
            decided = _by_recipe(recipe, model, batch, graph, roles_of(graph))
            if recipe == "own" and graph.how == "structure":
                notes = ()  # what each parameter gets does not depend on how the model was read
        decided = _fitting(model, batch, decided, parameters)
        dtypes = {n: str(p.dtype).removeprefix("torch.") for n, p in parameters.items()}
        entries = entries_of(decided, dtypes)
        notes += decided.doubts + decided.notes + said + nothing_planned(entries)
        if keep != "nothing" and only is None and there is None:
            notes += drawn_over(decided.roles, entries, parameters)
        chosen = Plan(entries, aliases, recipe or method, decided.graph.how, notes, emptied)
        chosen.outline = outline(decided.graph, type(unwrap(model)).__name__)
        runs, walked = TorchRuns(model, batch), decided.expected
        walked = walked if overrides is None else override(chosen, runs, decided, overrides)
        if not decided.doubts:  # they say the same
            chosen.notes += walked.warnings
        return chosen, decided, batch


def _reader(
    model: nn.Module,
    graph: Graph,
    named: tuple[Mapping[str, nn.Parameter], Mapping[str, str]],
    keep: str,
    only: Only | None,
    there: Stored | None,
    told: Mapping[str, Values] | None,
) -> tuple[RolesOf, tuple[str, ...]]:
    """Return what reads the roles in a graph, with what makes parameters keep their values.

    Returns:
        That, and what is doubtful about what was asked for.
    """
    from isoinit._planning.asked import asked_for, asked_unseen, values_to_keep
    from isoinit._reading.torch import structure
    from isoinit._writing.sharing import doubts_of_memory

    def read(graph: Graph) -> dict[str, Role]:
        return read_roles(graph, lambda: structure(model))

    asked: dict[str, str] | None = None
    said: tuple[str, ...] = ()
    if only is not None:
        roles = {name: str(role) for name, role in read(graph).items()}
        asked = asked_for(only, model, roles, named[1])
        said = asked_unseen(asked, named[1])
    before, more = values_to_keep(model, *named, keep, there, asked)
    before |= told or {}

    def read_before(graph: Graph) -> dict[str, Role]:
        computed = graph.charts.keys() | graph.parts.keys()  # which hold no weight as it is used
        known = {n: v for n, v in before.items() if v.kept or n not in computed}
        return {name: replace(r, before=known.get(name)) for name, r in read(graph).items()}

    return read_before, said + more + doubts_of_memory(named[0])


def _by_recipe(
    recipe: str, model: nn.Module, batch: Any, graph: Graph, roles: dict[str, Role]
) -> Decided:
    """Return what a recipe gives every parameter, with what is expected of it."""
    from isoinit._planning.recipes import follow

    found, notes = follow(recipe, model, graph, roles)
    roles = {name: role for name, (role, _) in found.items()}
    choices = {name: kept(role, choice, asked=True) for name, (role, choice) in found.items()}
    if recipe != "own":  # which has seen what the parameters themselves get
        choices = carried_all(graph, roles, choices)
    return replace(as_given(TorchRuns(model, batch), graph, roles, choices), notes=notes)


def _fitting(
    model: nn.Module, batch: Any, decided: Decided, parameters: Mapping[str, nn.Parameter]
) -> Decided:
    """Return what was decided, but for what `Plan.apply` would refuse: that is left."""
    from isoinit._writing.refusals import misfit

    graph, roles, choices = decided.graph, decided.roles, decided.choices
    faults = {
        name: left(choice, fault)
        for name, choice in choices.items()
        if (fault := misfit(parameters[name], choice.initializer, roles[name].layout))
    }
    if not faults:
        return decided
    again = as_given(TorchRuns(model, batch), graph, roles, {**choices, **faults})
    return replace(again, doubts=decided.doubts, notes=decided.notes)


def override(
    chosen: Plan, runs: Runs, decided: Decided, overrides: Mapping[str, Initializer]
) -> Expected:
    """Give a plan other initializers; return what is expected of signal and gradient then."""
    chosen.override(overrides)
    graph, roles, before = decided.graph, decided.roles, decided.choices
    given = {e.name: e.initializer for e in chosen if e.initializer != before[e.name].initializer}
    changed = {name: replace(before[name], initializer=new) for name, new in given.items()}
    choices = carried_all(graph, roles, {**before, **changed}, given)
    walked = as_given(runs, graph, roles, choices).expected
    for name, entry in chosen.entries.items():
        initializer = choices[name].initializer
        chosen.entries[name] = replace(
            entry,
            initializer=initializer,
            expected=walked.signal.get(name),
            expected_gradient=walked.gradient.get(name),
        )
    return walked


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

    with alone():
        require_parameters(model, "read")
        graph, _, notes = _graph(model, batch)
        return Reading(type(unwrap(model)).__name__, graph, notes)


def _graph(model: nn.Module, batch: Any) -> tuple[Graph, Any, tuple[str, ...]]:
    """Return the graph of a run or, where no example can be made, of the modules.

    Returns:
        The graph, the example that it was run on, and what is doubtful.
    """
    from isoinit._reading.torch import structure, trace, trace_made_up

    if batch is None:
        try:
            graph, batch = trace_made_up(model)
        except TraceError as error:
            doubt = f"read only from its modules, which is a guess: {error}"
            return structure(model), None, (doubt,)
    else:
        graph = trace(model, batch)
    unused = graph.unused
    named = ", ".join(map(repr, unused[:8])) + (f" and {len(unused) - 8} more" * (len(unused) > 8))
    if graph.missed:
        inside = f", perhaps what it does with {named}" if unused else ""
        doubt = (
            "part of the forward pass runs where isoinit sees no call of torch (compiled code, "
            f"torch.func){inside}: the output of that part counts as not known"
        )
        return graph, batch, (doubt,)
    if not unused:
        return graph, batch, ()
    doubt = (
        f"the run never used {named}: with such a batch they get no gradient, and isoinit knows them "
        "only by the types of their layers; pass a batch that uses them, or remove them"
    )
    return graph, batch, (doubt,)


def init(
    model: nn.Module,
    batch: Any = None,
    seed: int | None = None,
    *,
    method: str = "auto",
    recipe: str | None = None,
    overrides: Mapping[str, Initializer] | None = None,
    keep: str = "own",
    only: Only | None = None,
    only_missing: Given | None = None,
    calibrate: bool = False,
) -> Plan:
    """Plan a model's initial parameters and apply the plan.

    Without a seed each call draws one from torch's default generator. So layers that are initialized
    in a loop differ, and so do ensembles and twin critics. `torch.manual_seed` makes them repeatable.

    Args:
        model: filled in place.
        batch: an example input, as for `plan`.
        seed: as for `Plan.apply`.
        method: as for `plan`.
        recipe: as for `plan`.
        overrides: as for `plan`.
        keep: as for `plan`.
        only: as for `plan`.
        only_missing: as for `plan`.
        calibrate: whether to correct the scales by a measurement on the batch, as `Plan.calibrate`
            does for the same seed. The plan's notes name the largest corrections. It helps where
            inputs are not of unit size or isoinit cannot follow a layer, and is no better elsewhere,
            so it is off by default. Every process needs the same batch.

    Returns:
        The plan that was applied. Its `seed` is the seed that was used.

    Raises:
        ArgumentError: if `calibrate` is asked for without a batch.
        IsoinitError: as `plan`, `Plan.calibrate` and `Plan.apply` do. Nothing was changed then.

    Warns:
        IsoinitWarning: if the model looks trained and its weights are about to be drawn again.

    Example:
        >>> import isoinit, torch
        >>> first, second = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
        >>> plan = isoinit.init(first, torch.zeros(1, 4))
        >>> _ = isoinit.init(second, torch.zeros(1, 4))
        >>> torch.equal(first.weight, second.weight)
        False
        >>> torch.equal(plan.apply(second, plan.seed).weight, first.weight)
        True
    """
    if calibrate and batch is None:
        raise ArgumentError("init(calibrate=True) needs a batch of real examples")
    with alone():
        chosen = plan(
            model,
            batch,
            method=method,
            recipe=recipe,
            overrides=overrides,
            keep=keep,
            only=only,
            only_missing=only_missing,
        )
        for said in chosen.notes:
            if said.startswith(TRAINED):  # who reads it in the plan reads it too late
                warnings.warn(said, IsoinitWarning, stacklevel=2)
        if calibrate:
            seed = resolve_seed(seed)
            chosen = chosen.calibrate(model, batch, seed)
        chosen.apply(model, seed)
        return chosen
