"""Puts sparse layers in the place of plain ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from isoinit._reading.torch.names import named_modules
from isoinit._writing.parametrized import (
    Holder,
    holders_of,
    parametrization_fault,
    parametrized,
)
from isoinit.errors import ArgumentError
from isoinit.initializers.patterns import Kept
from isoinit.initializers.scale.fans import Layout
from isoinit.sparse.layers import Places, Scattered, SparseEmbedding, SparseLinear, watch_loading

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A sparse weight that is ready to be put in.

    Attributes:
        kept: the places, sorted within rows.
        values: the kept weights, on their device.
        layout: of the dense parameter.
        trained: whether it gets a gradient.
    """

    kept: Kept
    values: torch.Tensor
    layout: Layout
    trained: bool


def require_holders(
    model: nn.Module,
    known: Mapping[str, nn.Parameter],
    aliases: Mapping[str, str],
    chosen: Sequence[str],
) -> dict[str, Holder]:
    """The module that holds each chosen parameter; refuses what cannot be made sparse.

    Raises:
        ArgumentError: naming the parameter; nothing was changed.
    """
    held = holders_of(model, chosen)
    for name in chosen:
        if fault := _fault(name, known[name], held[name], aliases):
            raise ArgumentError(
                f"nothing was changed: {name!r} {fault}, or exclude the parameter with "
                f"parameters=lambda name, _: name != {name!r}"
            )
    return {name: holders[0] for name, holders in held.items()}


def _fault(
    name: str, parameter: nn.Parameter, holders: Sequence[Holder], aliases: Mapping[str, str]
) -> str:
    if any(_is_sparse(holder.module) for holder in holders):
        return "is sparse already. Convert a model only once, with all parameters together"
    if fault := parametrization_fault(holders):
        return fault
    others = [other for other, first in aliases.items() if first == name]
    if others:
        return (
            f"is shared with {others[0]!r}, which would continue to use the dense weight. Untie "
            "the two first"
        )
    if not parameter.is_floating_point():
        kind = str(parameter.dtype).removeprefix("torch.")
        return f"is of type {kind}. Convert the model before quantizing"
    return ""


def _is_sparse(module: nn.Module) -> bool:
    parts = module if isinstance(module, ParametrizationList) else ()
    return isinstance(module, (SparseLinear, SparseEmbedding)) or any(
        isinstance(part, Scattered) for part in parts
    )


def install(model: Model, drawn: Mapping[str, Drawn], holders: Mapping[str, Holder]) -> Model:
    """Put the sparse weights in; gives the model, or what replaces it if it is one layer."""
    replaced: dict[int, nn.Module] = {}
    for name, weight in drawn.items():
        holder = holders[name]
        places = _places(weight)
        values = nn.Parameter(weight.values, weight.trained)
        if (layer := _layer(holder, weight, places, values)) is not None:
            replaced[id(holder.module)] = layer
        else:
            _scatter(holder, weight, places, values)
    if (whole := replaced.get(id(model))) is not None:
        return cast("Model", whole)
    for _, module in list(named_modules(model)):
        for child, layer in module._modules.items():
            if id(layer) in replaced:
                module._modules[child] = replaced[id(layer)]
    watch_loading(model)
    return model


def _places(weight: Drawn) -> Places:
    device, kept = weight.values.device, weight.kept
    columns, starts = (torch.from_numpy(part).to(device) for part in (kept.columns, kept.starts))
    return Places(columns, starts, kept.size)


def is_linear(holder: Holder, layout: Layout) -> bool:
    """Whether a layer is y = x·Wᵀ + b with this weight, and nothing else."""
    module = holder.module
    kind = type(module)
    exact = kind is nn.Linear or (
        kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"
    )
    return exact and holder.attribute == "weight" and layout.kind == "linear"


def _is_table(holder: Holder, places: Places) -> bool:
    module = holder.module
    plain = type(module) is nn.Embedding and not (
        module.max_norm or module.sparse or module.scale_grad_by_freq
    )
    return plain and places.regular


def _layer(holder: Holder, weight: Drawn, places: Places, values: nn.Parameter) -> nn.Module | None:
    """The layer that computes with the kept weights alone; None if there is none for its kind."""
    module: Any = holder.module
    if is_linear(holder, weight.layout):
        turned = Places(places.columns, places.starts, places.size, by_columns=True)
        layer: nn.Module = SparseLinear(values, turned, module.bias)
    elif _is_table(holder, places):
        layer = SparseEmbedding(values, places, module.padding_idx)
    else:
        return None
    return layer.train(module.training)


def _scatter(holder: Holder, weight: Drawn, places: Places, values: nn.Parameter) -> None:
    """Have the layer's dense weight made of the kept ones for each forward."""
    layout = weight.layout
    if layout.kind == "embedding":
        scattered = Scattered(places, layout.shape, (0, 1), layout.shape)
    else:
        order = layout.stack + layout.out + layout.in_ + layout.taps
        grid = tuple(layout.grid[axis] for axis in order)
        back = tuple(int(axis) for axis in np.argsort(order))
        scattered = Scattered(places, grid, back, layout.shape)
    parametrized(holder.module, holder.attribute, scattered)
    held = cast("Any", holder.module).parametrizations[holder.attribute]
    held.original = values
