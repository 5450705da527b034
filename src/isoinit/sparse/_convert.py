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
    """Initialize a model with sparse weights, and store only the kept elements.

    Each chosen weight keeps a share of its elements, drawn by the name of the weight. The kept
    elements get the planned scale, corrected for the number of inputs of each unit, so the sparse
    network has the planned signal. Weights planned as orthogonal or mirrored become sparse matrices
    with this property (`SparseOrthogonal`), unless their rule only needs a variance. Other parameters
    are filled as planned.

    A linear layer becomes a `SparseLinear` and a lookup table a `SparseEmbedding`. They hold `values`,
    a plain parameter for any optimizer, and the places of the values. Weights of other layers
    (convolutions, recurrent layers, attention) also store only the kept elements but are computed
    dense: this saves memory, not time. `isoinit.sparse.costs` reports both.

    The dense weights are never created. A layer whose dense form does not fit in memory can be built
    on the meta device and converted from there. Its tensors are then on the CPU.

    Create the optimizer, and wrap the model (DDP, compile), after converting.

    Args:
        model: a plain model. It is initialized, so earlier values are lost. `from_dense` keeps the
            largest weights of a trained model.
        plan: the plan of the plain model, best with an example: `isoinit.plan(model, batch)`. A weight
            planned as `Sparse` or `SparseOrthogonal` keeps this plan. None plans without an example.
        density: the share of kept weights, in (0, 1], at least one for each unit. The default is 0.1,
            or the density of an N:M pattern. A mapping gives shares by name, glob or role, as in
            `Plan.override`: a name decides, else the first match. Above 0.4 a weight stays dense,
            which is then equally fast.
        pattern: the pattern of kept weights, as in `Sparse`: "fixed" for the same number of inputs
            for each unit, "random", "block32", "2:4".
        spread: how `density` is distributed over layers: "uniform", or "er" and "erk" for one
            budget of which small layers get a larger share: see `spread_budget`.
        parameters: "weights" for every weight matrix, kernel and table; a name or glob, or several; or
            a function of name and parameter.
        seed: the same seed gives the same places and values. None draws one, as for `Plan.apply`.
        inplace: whether to convert this model, or a copy of it.

    Returns:
        The model or its copy. For a model that is one layer, it is the new layer.

    Raises:
        ArgumentError: for an argument out of range; fewer than one weight for each unit; blocks or
            N:M that do not divide a row; a weight that is shared, parametrized or already sparse; a
            model that is wrapped, or has buffers on the meta device. Nothing was changed then.
        UnknownParameterError: for a pattern of names that matches nothing.
        PlanError: if the plan does not fit the model. Nothing was changed then.

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
                f"nothing was changed: the buffer {name!r} is on the meta device, so its values "
                "are unknown: build the model with its buffers on the CPU"
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
