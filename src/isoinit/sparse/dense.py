"""Between sparse and dense: plain models out of sparse ones, sparse ones out of trained ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

from isoinit._planning.plan import Plan
from isoinit._planning.selected import Chosen
from isoinit._reading.torch.names import named_modules, require_parameters
from isoinit._writing.parametrized import parametrizations_of, unparametrized
from isoinit.errors import ArgumentError
from isoinit.initializers.patterns import shape_of
from isoinit.sparse.choices import CROSSOVER, Choice, Density, prepare, say_what_stays
from isoinit.sparse.install import Drawn, install, require_holders
from isoinit.sparse.layers import Places, Scattered, SparseEmbedding, SparseLinear

Model = TypeVar("Model", bound=nn.Module)
NAMES = ("columns", "starts")


def sparse_layers(model: nn.Module) -> dict[str, SparseLinear | SparseEmbedding]:
    """The layers that compute with their kept weights, by name.

    Example:
        >>> import torch
        >>> from isoinit import sparse
        >>> sorted(sparse_layers(sparse.convert(torch.nn.Sequential(torch.nn.Linear(100, 4)))))
        ['0']
    """
    return {
        prefix[:-1]: module
        for prefix, module in named_modules(model)
        if isinstance(module, (SparseLinear, SparseEmbedding))
    }


def scattered_weights(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """The dense weights that are made of kept ones for each forward: by name, layer and attribute."""
    return {
        prefix + attribute: (module, attribute)
        for prefix, module in named_modules(model)
        for attribute, parts in parametrizations_of(module).items()
        if isinstance(parts[0], Scattered)
    }


def to_dense(model: Model) -> Model:
    """A plain copy of the model, with the zeros of its sparse weights written out.

    Args:
        model: left as it was.

    Returns:
        A model of `nn.Linear`, `nn.Embedding` and what else it was converted from, with the same
        function; parameters have their plain names again.

    Raises:
        ArgumentError: if the model has no sparse weight.

    Example:
        >>> import torch
        >>> from isoinit import sparse
        >>> model = sparse.convert(torch.nn.Sequential(torch.nn.Linear(100, 4)))
        >>> sparse.to_dense(model)[0].weight.count_nonzero().item()
        40
    """
    require_sparse(model, "to_dense")
    twin = copy.deepcopy(model)
    for module, attribute in scattered_weights(twin).values():
        values = cast("Any", module).parametrizations[attribute].original
        weight = getattr(module, attribute).detach()
        unparametrized(module, {attribute: nn.Parameter(weight, values.requires_grad)})
    if isinstance(twin, (SparseLinear, SparseEmbedding)):
        return cast("Model", _plain(twin))
    for _, module in list(named_modules(twin)):
        for child, layer in module._modules.items():
            if isinstance(layer, (SparseLinear, SparseEmbedding)):
                module._modules[child] = _plain(layer)
    return twin


def require_sparse(model: nn.Module, purpose: str) -> None:
    """Refuse a model without sparse weights.

    Raises:
        ArgumentError: naming the purpose.
    """
    if not sparse_layers(model) and not scattered_weights(model):
        raise ArgumentError(
            f"{purpose}: {type(model).__name__} has no sparse weight; call "
            "isoinit.sparse.convert(model) first"
        )


def _plain(layer: SparseLinear | SparseEmbedding) -> nn.Module:
    weight = nn.Parameter(layer.weight.detach(), layer.values.requires_grad)
    plain: Any
    if isinstance(layer, SparseEmbedding):
        rows, size = weight.shape
        plain = nn.Embedding(rows, size, layer.padding_idx, _weight=weight)
    else:  # on meta, so that nothing is made to be thrown away
        plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        plain.bias = layer.bias
    plain.weight = weight
    return cast("nn.Module", plain.train(layer.training))


def from_dense(
    model: Model,
    plan: Plan | None = None,
    *,
    density: Density | None = None,
    pattern: str = "fixed",
    spread: str = "uniform",
    parameters: Chosen = "weights",
    inplace: bool = True,
) -> Model:
    """Make a trained model sparse: the weights of largest magnitude are kept, with their values.

    Args:
        model: a plain model with values; all that is not chosen stays as it is.
        plan: the model's, for what its weights mean. None plans without an example.
        density: as for `convert`.
        pattern: "fixed" keeps the largest of each unit, "random" the largest of a weight as a whole,
            and one of each unit at least; N:M the largest N of M; of blocks are kept those of the
            largest sum of squares.
        spread: as for `convert`.
        parameters: as for `convert`.
        inplace: as for `convert`.

    Returns:
        As `convert`.

    Raises:
        ArgumentError, UnknownParameterError, PlanError: as `convert`; nothing was changed.

    Source: Han et al. 2015 (magnitude).

    Example:
        >>> import torch
        >>> from isoinit import sparse
        >>> trained = torch.nn.Sequential(torch.nn.Linear(100, 4))
        >>> smallest = trained[0].weight.abs().sort(1).values[:, 90].detach()
        >>> model = sparse.from_dense(trained, density=0.1)
        >>> bool((model[0].values.view(4, 10).abs() >= smallest[:, None]).all())
        True
    """
    asked = prepare(model, plan, density, pattern, spread, parameters, crossover=CROSSOVER)
    if not inplace:
        model = copy.deepcopy(model)
    known, aliases = require_parameters(model, "convert")
    if empty := [name for name in asked.sparse if known[name].is_meta]:
        raise ArgumentError(
            f"from_dense: {empty[0]!r} is on the meta device and has no values. Load the dense "
            "weights first"
        )
    holders = require_holders(model, known, aliases, list(asked.choices))
    say_what_stays(asked.choices, holders)
    drawn = {name: _largest(known[name], choice) for name, choice in asked.sparse.items()}
    return install(model, drawn, holders)


def _largest(parameter: nn.Parameter, choice: Choice) -> Drawn:
    """The weights of largest magnitude, as the choice's pattern keeps them."""
    assert choice.initializer is not None
    layout, stored = choice.entry.layout, parameter.detach().cpu().float().numpy()
    stack, rows, size = shape_of(layout)
    matrix = stored if layout.kind == "embedding" else layout.to_maps(stored)
    kept = choice.initializer.rule.largest(matrix.reshape(stack * rows, size), stack)
    whole = parameter.detach()
    if layout.kind != "embedding":
        order = layout.stack + layout.out + layout.in_ + layout.taps
        whole = whole.reshape(layout.grid).permute(order)
    places = torch.from_numpy(kept.rows.astype(np.int64) * size + kept.columns)
    values = whole.reshape(-1)[places.to(whole.device)].clone()
    return Drawn(kept, values, layout, parameter.requires_grad)


def adopt(model: Model, state: Mapping[str, Any]) -> Model:
    """Take over the places of the kept weights from a state dict, so that it can be loaded.

    For models whose places have changed since they were converted (`Regrow`), or that were converted
    under another seed.

    Args:
        model: converted with the same densities: each layer keeps as many weights as the saved one.
        state: a `state_dict` of a sparse model. Only places are taken over; load it afterwards.

    Returns:
        The model.

    Raises:
        ArgumentError: if a layer's places are missing or of another number; nothing was changed.

    Example:
        >>> import torch
        >>> from isoinit import sparse
        >>> one, other = (
        ...     sparse.convert(torch.nn.Sequential(torch.nn.Linear(100, 4)), seed=seed)
        ...     for seed in (0, 1)
        ... )
        >>> sparse.adopt(other, one.state_dict()).load_state_dict(one.state_dict())
        <All keys matched successfully>
    """
    require_sparse(model, "adopt")
    moves = []
    for name, places in model.named_modules():
        if not isinstance(places, Places):
            continue
        found: list[Any] = [state.get(f"{name}.{what}".lstrip(".")) for what in NAMES]
        for theirs, own, what in zip(found, (places.columns, places.starts), NAMES, strict=True):
            if theirs is None or theirs.shape != own.shape:
                held = "none" if theirs is None else f"{len(theirs)}"
                raise ArgumentError(
                    f"nothing was changed: the state dict has {held} {what} for {name!r}, but the "
                    f"model has {len(own)}. Convert the model with the densities of the saved one"
                )
        moves.append((places, found))
    for places, (columns, starts) in moves:
        places.move(columns, starts)
    return model
