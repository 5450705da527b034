"""The verbs: `plan` the initial parameters of a JAX model, `init` it in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax

from isoinit._planning.blocks import joined
from isoinit._planning.decide import Decided, by_rules
from isoinit._planning.doubts import large_scores
from isoinit._planning.entries import entries_of
from isoinit._planning.plan import Plan
from isoinit._planning.propagation import hardly_meant, unusual
from isoinit._reading.graph import Graph
from isoinit._reading.jax import Traced, trace
from isoinit._reading.outline import outline
from isoinit._reading.roles import Role, read_roles
from isoinit._reading.values import Values
from isoinit._system.alone import alone
from isoinit.initializers import Initializer
from isoinit.jax.models import Model, model_of, traced
from isoinit.jax.runs import JaxRuns


def plan(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    method: str = "auto",
    overrides: Mapping[str, Initializer] | None = None,
) -> Plan:
    """Return a plan: the initializer of every parameter, with a reason and a source.

    The model's apply is traced once, with shapes instead of parameters: this needs no memory and runs
    no computation. The operations around each weight decide its initializer, as in `isoinit.plan`.

    Args:
        model: a function `apply(params, *inputs)`; a module of Flax NNX or Equinox; a module of Flax
            Linen, or a transformed function of Haiku, each followed by its variables.
        inputs: the arguments of the model, as arrays or `jax.ShapeDtypeStruct`s. For a function the
            parameters come first: any pytree of arrays or `jax.ShapeDtypeStruct`s.
        kwargs: the keyword arguments of the model: arrays, and settings such as `{"train": False}`.
        method: "auto" for the rule book, or one of the eight methods, as for `isoinit.plan`.
        overrides: other initializers by name, glob or role, as for `Plan.override`.

    Returns:
        The plan. `plan.fill(params, seed=0)` returns a new tree with its values. `plan.notes` names
        the parts of the model that isoinit cannot follow.

    Raises:
        ArgumentError: if the model is not supported or has no parameters; if an input is not an array
            or has an unknown size; if two parameters have one name; if method is unknown; or if an
            override does not fit.
        TraceError: if the model cannot be traced, with its own error.

    Example:
        >>> import isoinit.jax as ij, jax
        >>> params = {"w1": jax.ShapeDtypeStruct((64, 32), "float32"),
        ...           "w2": jax.ShapeDtypeStruct((32, 2), "float32")}
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["w1"]) @ params["w2"]
        >>> for entry in ij.plan(apply, params, jax.ShapeDtypeStruct((8, 64), "float32")):
        ...     print(entry.name, entry.initializer, entry.role)
        w1 Orthogonal() weight before relu
        w2 Orthogonal(gain=1.414) weight of the output
    """
    with alone():
        return planned(model_of(model, *inputs, kwargs=kwargs), method, overrides)[0]


def planned(
    model: Model,
    method: str = "auto",
    overrides: Mapping[str, Initializer] | None = None,
    read: Traced | None = None,
    before: Mapping[str, Values] | None = None,
) -> tuple[Plan, Decided, Traced]:
    """Return what `plan` does, with what was decided and read for it.

    Args:
        model: the model.
        method: as for `plan`.
        overrides: as for `plan`.
        read: what was read of it before, if it was.
        before: what is known of the values that parameters are to have.
    """
    read = read_of(model) if read is None else read
    graph = read.graph
    known = before or {}

    def roles_of(graph: Graph) -> dict[str, Role]:
        roles = read_roles_of(graph)
        return {n: replace(r, before=known.get(read.parent(n))) for n, r in roles.items()}

    decided = by_rules(JaxRuns(model, read), graph, method, roles_of)
    notes = (*read.notes, *hardly_meant(graph), *unusual(graph, decided.roles))
    notes += large_scores(graph)
    dtypes = {name: leaf.dtype.name for name, leaf in model.names.items()}
    drawn = [name for name in model.names if name not in model.kept]
    types = {name: dtypes[read.parent(name)] for name in decided.roles}
    entries = joined(entries_of(decided, types), read.blocks)
    notes += decided.doubts + decided.notes + _unused(graph)
    chosen = Plan(
        {name: entries[name] for name in drawn if name in entries},
        dict(model.aliases),
        method,
        graph.how,
        notes,
        outline=outline(graph, model.name, read.parent),
    )
    if overrides is not None:
        chosen.override(overrides)
    if not decided.doubts:
        chosen.notes += decided.expected.warnings
    return chosen, decided, read


def read_of(model: Model) -> Traced:
    """Return what a model does, read from its jaxpr."""
    closed, _ = traced(model)
    state, inputs = (jax.tree_util.tree_leaves(tree) for tree in (model.state, model.inputs))
    return trace(closed, list(model.names), state, inputs, model.aliases)


def read_roles_of(graph: Graph) -> dict[str, Role]:
    """Return what each parameter is for; none is read from modules, since a function has none."""
    return read_roles(graph, lambda: graph)


def _unused(graph: Graph) -> tuple[str, ...]:
    named = ", ".join(map(repr, graph.unused[:8]))
    if not named:
        return ()
    more = len(graph.unused) - 8
    return (
        f"the model never used {named}{f' and {more} more' if more > 0 else ''}: with such inputs "
        "they get no gradient, and their role is not known",
    )


def init(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    seed: int | None = 0,
    sharding: Any = None,
    method: str = "auto",
    overrides: Mapping[str, Initializer] | None = None,
) -> Any:
    """Plan a model's initial parameters and fill them.

    Args:
        model: as for `plan`. A module of Flax NNX is filled in place.
        inputs: as for `plan`.
        kwargs: as for `plan`.
        seed: as for `Plan.fill`.
        sharding: as for `Plan.fill`.
        method: as for `plan`.
        overrides: as for `plan`.

    Returns:
        The filled parameters: the module of Flax NNX itself, a new module of Equinox, the variables of
        Flax Linen with new parameters, or a new tree.

    Raises:
        IsoinitError: as `plan` and `Plan.fill` do. Nothing was changed then.

    Example:
        >>> import isoinit.jax as ij, jax
        >>> params = {"w": jax.ShapeDtypeStruct((64, 32), "float32")}
        >>> filled = ij.init(lambda p, x: x @ p["w"], params, jax.ShapeDtypeStruct((8, 64), "float32"))
        >>> filled["w"].shape
        (64, 32)
    """
    read = model_of(model, *inputs, kwargs=kwargs)
    with alone():
        chosen = planned(read, method, overrides)[0]
        filled = chosen.fill(read.params, seed, sharding=sharding)
        if read.form.assign is None:
            return read.replaced(filled)
        read.assign(filled)
        return model
