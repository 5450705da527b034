"""Makes the weights of a plain model sparse: freshly initialized, and nothing stored for the zeros."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

from isoinit._planning.plan import Plan
from isoinit._planning.selected import Chosen
from isoinit._reading.torch.names import names_by_id, require_parameters
from isoinit._system.alone import alone
from isoinit._writing.apply import fill_within
from isoinit._writing.refusals import left_on_meta
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError
from isoinit.sparse.choices import CROSSOVER, Asked, Density, draw, prepare, say_what_stays
from isoinit.sparse.install import install, require_holders

Model = TypeVar("Model", bound=nn.Module)


def convert(
    model: Model,
    plan: Plan | None = None,
    *,
    density: Density | None = None,
    pattern: str = "fixed",
    spread: str = "uniform",
    parameters: Chosen = "weights",
    seed: int | None = None,
    inplace: bool = True,
) -> Model:
    """Initialize a model with sparse weights, of which only those that are kept are stored.

    Each chosen weight keeps a share of its elements, drawn from the streams of its name, and these
    start with the planned scale, corrected by the number of inputs that their unit keeps: the signal
    of the sparse network is that of the planned one. Weights planned as orthogonal or mirrored become
    sparse matrices that are exactly so (`SparseOrthogonal`), unless their rule asks for no more than a
    variance. Other parameters are filled as planned.

    A linear layer becomes a `SparseLinear`, a lookup table a `SparseEmbedding`: `values`, a plain
    parameter of the kept weights, which any optimizer takes, and their places. Weights of other layers
    (convolutions, recurrent layers, attention) store only what they keep too, but are computed as
    dense ones: memory is saved, time is not. `isoinit.sparse.costs` says what is.

    The dense weights are never made: a layer whose dense form would not fit in memory can be built on
    the meta device and converted from there; what is on meta then comes to the processor.

    Make the optimizer after converting, and wrap the model (DDP, compile) after converting.

    Args:
        model: a plain model. It is initialized, so that earlier values are lost: `from_dense` keeps
            the largest of trained ones.
        plan: the plan of the plain model, best from an example: `isoinit.plan(model, batch)`. A weight
            planned as `Sparse` or `SparseOrthogonal` is used so. None plans without an example.
        density: the share of weights that are kept, in (0, 1]: at least one a unit; by default 0.1, or
            what an N:M pattern says. Or a mapping from names, globs and roles to shares, as in
            `Plan.override`, of which a name or else the first that matches decides. Above 0.4 a
            weight stays dense, which is as fast then.
        pattern: which ones, as in `Sparse`: "fixed" for the same number of inputs a unit, "random",
            "block32", "2:4".
        spread: how `density` is distributed over layers: "uniform", or "er" and "erk" for one
            budget of which small layers get a larger share: see `spread_budget`.
        parameters: "weights" for every weight matrix, kernel and table; a name or glob, or several; or
            a function of name and parameter.
        seed: the same seed gives the same places and values; None draws one, as for `Plan.apply`.
        inplace: whether to convert this model, or a copy of it.

    Returns:
        The model, or its copy; of a model that is one layer, the layer that replaces it.

    Raises:
        ArgumentError: for an argument out of range, fewer than one weight a unit, blocks or N:M that
            do not divide a row; a weight that is shared, parametrized or sparse already; a model
            that is wrapped, or has buffers on the meta device. Nothing was changed then.
        UnknownParameterError: for a pattern of names that matches nothing.
        PlanError: if the plan does not fit the model; nothing was changed.

    Source: Martens 2010; Evci et al. 2022 (scale); Mocanu et al. 2018, Evci et al. 2020 (`spread`).

    Example:
        >>> import torch
        >>> from isoinit import sparse
        >>> nn = torch.nn
        >>> model = nn.Sequential(nn.Linear(100, 400), nn.ReLU(), nn.Linear(400, 10))
        >>> model = sparse.convert(model, density={"0.weight": 0.1, "*": 1.0})
        >>> model[0]
        SparseLinear(
          in_features=100, out_features=400, bias=True, kept=4000 (0.1)
          (places): Places()
        )
    """
    with alone():
        asked = prepare(model, plan, density, pattern, spread, parameters, crossover=CROSSOVER)
        _refuse_empty(model, asked)
        seed = resolve_seed(seed)
        if not inplace:
            model = copy.deepcopy(model)
        known, aliases = require_parameters(model, "convert")
        holders = require_holders(model, known, aliases, list(asked.choices))
        say_what_stays(asked.choices, holders)
        drawn = {name: draw(choice, known[name], seed) for name, choice in asked.sparse.items()}
        rest = {name: parameter for name, parameter in known.items() if name not in drawn}
        fill_within(asked.plan.entries, model, _settled(model, rest), seed)
        asked.plan.seed = seed
        return install(model, drawn, holders)


def _refuse_empty(model: nn.Module, asked: Asked) -> None:
    """Refuse what is on the meta device and would come from there with no value."""
    for name, buffer in model.named_buffers():
        if buffer.is_meta:
            raise ArgumentError(
                f"nothing was changed: the buffer {name!r} is on the meta device, and what it holds "
                "is not known here: build the model with its buffers on the processor"
            )
    if fault := left_on_meta(asked.plan.entries, require_parameters(model, "convert")[0]):
        raise ArgumentError(f"nothing was changed: {fault}")


def _settled(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """The parameters, those on the meta device replaced by empty ones on the processor."""
    settled = {
        name: nn.Parameter(torch.empty_like(parameter, device="cpu"), parameter.requires_grad)
        if parameter.is_meta
        else parameter
        for name, parameter in parameters.items()
    }
    empty = {name for name, parameter in parameters.items() if parameter.is_meta}
    new = {key: settled[name] for key, name in names_by_id(model).items() if name in empty}
    if new:
        for module in model.modules():
            for attribute, parameter in module._parameters.items():
                if id(parameter) in new:
                    module._parameters[attribute] = new[id(parameter)]
    return settled
