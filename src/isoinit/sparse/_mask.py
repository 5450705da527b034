"""Dense weights that hold zeros: sparse by a mask, for what has to stay a plain dense computation.

Nothing is saved: a mask takes a byte a weight on top, and a forward pass one more product. Use it to
compare with sparse layers, or where other code needs the dense weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from isoinit._planning.plan import Plan
from isoinit._planning.selected import Chosen, refuse_wrapped
from isoinit._reading.torch.names import named_modules, require_parameters
from isoinit._system.alone import alone
from isoinit._writing.apply import fill_within
from isoinit._writing.parametrized import parametrizations_of, parametrized, unparametrized
from isoinit._writing.refusals import refuse_unfillable, refuse_unready
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError, UnknownParameterError
from isoinit.initializers.patterns import Kept, shape_of
from isoinit.initializers.scale.fans import Layout
from isoinit.sparse.choices import Density, draw, prepare
from isoinit.sparse.install import require_holders

Model = TypeVar("Model", bound=nn.Module)


class Masked(nn.Module):
    """A parametrization that holds zeros: what its mask leaves out is zero whatever an optimizer does.

    The gradient there is zero too, so that momentum and weight decay have nothing to work on.

    Attributes:
        mask: where the weights are kept, of the parameter's shape. It is saved with the model.
    """

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with its zeros; not a product, by which a NaN would pass the mask."""
        return torch.where(self.mask, weight, 0)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """What is stored when a weight is assigned: zeros in place."""
        return self.forward(weight)

    def extra_repr(self) -> str:
        """What printing the model shows."""
        kept = int(self.mask.sum())
        return f"{tuple(self.mask.shape)}, kept={kept} ({kept / max(self.mask.numel(), 1):.3g})"


def mask_of(kept: Kept, layout: Layout) -> torch.Tensor:
    """Where a pattern keeps weights, in the stored shape of the parameter that it was drawn for.

    Raises:
        ArgumentError: if the pattern is that of another shape, or the layout that of a vector.

    Example:
        >>> import numpy as np
        >>> from isoinit.initializers.scale import fans
        >>> kept = Kept(np.array([2, 0], np.int32), np.array([0, 1, 2]), size=3)
        >>> mask_of(kept, fans.linear((2, 3))).int().tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    stack, rows, size = shape_of(layout)
    found = (len(kept.starts) - 1, kept.size)
    if found != (stack * rows, size):
        raise ArgumentError(
            f"the pattern has (rows, columns) {found}; expected {(stack * rows, size)} for a "
            f"parameter of shape {layout.shape}. Draw the pattern for this layout"
        )
    flat = np.zeros(math.prod(layout.shape), np.bool_)
    flat[kept.rows.astype(np.intp) * size + kept.columns] = True
    if layout.kind == "embedding":  # a row of the table is a row of the pattern
        stored = flat.reshape(layout.shape)
    else:
        stored = np.ascontiguousarray(layout.from_maps(flat.reshape(layout.maps_shape)))
    return torch.from_numpy(stored)


def hold(model: nn.Module, kept: Mapping[str, Kept], layouts: Mapping[str, Layout]) -> None:
    """Zero what patterns leave out of a model's parameters, and hold it at zero from now on.

    The parameter `p` of a layer moves to `layer.parametrizations.p.original`: the same object, so that
    an optimizer may have been made before. Reading `layer.p` gives it with its zeros.

    Args:
        model: a plain model; parameters that are not named stay as they are.
        kept: the pattern of each parameter, by name.
        layouts: the layout of each of them.

    Raises:
        ArgumentError: for a pattern of another shape; a parameter that is shared, or parametrized or
            sparse already; a table that asks for sparse gradients; a wrapped model; nothing was
            changed.
        UnknownParameterError: for a name that the model lacks; nothing was changed.
        PlanError: for a parameter without memory of its own; nothing was changed.
    """
    known, aliases = require_parameters(model, "mask")
    refuse_wrapped(model)
    for name in kept:
        if name not in known and name not in aliases:
            raise UnknownParameterError(name, known)
    firsts = {aliases.get(name, name): name for name in kept}
    refuse_unfillable({name: known[name] for name in firsts}, now=True)
    holders = require_holders(model, known, aliases, list(firsts))
    masks = {}
    for first, name in firsts.items():
        masks[first] = mask_of(kept[name], layouts[name])
        shape = tuple(known[first].shape)
        if tuple(masks[first].shape) != shape:
            raise ArgumentError(
                f"nothing was changed: the layout of {name!r} has shape {layouts[name].shape}; "
                f"expected {shape}. Make the plan from this model"
            )
        if getattr(holders[first].module, "sparse", False) is True:
            raise ArgumentError(
                f"nothing was changed: {name!r} belongs to a table with sparse=True, and a mask "
                "cannot pass sparse gradients. Make the table with sparse=False"
            )
    for first, mask in masks.items():
        holder = holders[first]
        parametrized(holder.module, holder.attribute, Masked(mask.to(known[first].device)))


def mask(
    model: Model,
    plan: Plan | None = None,
    *,
    density: Density | None = None,
    pattern: str = "fixed",
    spread: str = "uniform",
    parameters: Chosen = "weights",
    seed: int | None = None,
) -> Model:
    """Initialize a model with sparse weights that stay dense tensors, their zeros held by masks.

    For those who want dense kernels: the same places and values as `convert` gives under the same
    arguments, the zeros written out. Nothing is saved: a mask takes a byte a weight on top.

    Args:
        model: a plain model with memory; it is initialized in place.
        plan: as for `convert`.
        density: as for `convert`, but weights of any density are masked.
        pattern: as for `convert`.
        spread: as for `convert`.
        parameters: as for `convert`.
        seed: as for `convert`.

    Returns:
        The model.

    Raises:
        ArgumentError, UnknownParameterError, PlanError: as `convert`; nothing was changed.

    Example:
        >>> import torch
        >>> from isoinit import sparse
        >>> model = sparse.mask(torch.nn.Sequential(torch.nn.Linear(100, 4)), density=0.1)
        >>> model[0].weight.count_nonzero().item()
        40
    """
    with alone():
        asked = prepare(model, plan, density, pattern, spread, parameters)
        known, _ = require_parameters(model, "mask")
        refuse_unready(known, now=True)
        seed, sparse = resolve_seed(seed), asked.sparse
        kept = {name: draw(choice, known[name], seed).kept for name, choice in sparse.items()}
        filled = {n: c.filled for n, c in sparse.items() if c.constant is None}
        fill_within({**asked.plan.entries, **filled}, model, known, seed)
        asked.plan.seed = seed
        hold(model, kept, {name: choice.entry.layout for name, choice in sparse.items()})
        return model


def remove_masks(model: Model) -> Model:
    """Make the masked weights plain parameters again, with their zeros in place.

    The parameters are the same objects, so that an optimizer goes on with them; nothing holds the
    zeros any more.

    Returns:
        The model itself.

    Raises:
        ArgumentError: if the model has no mask, or one with other parametrizations beside it; nothing
            was changed.

    Example:
        >>> import numpy as np
        >>> from isoinit.initializers.scale import fans
        >>> layer = nn.Linear(3, 2)
        >>> kept = Kept(np.array([2, 0], np.int32), np.array([0, 1, 2]), size=3)
        >>> hold(layer, {"weight": kept}, {"weight": fans.linear((2, 3))})
        >>> type(remove_masks(layer)).__name__, int(layer.weight.count_nonzero())
        ('Linear', 2)
    """
    found: dict[nn.Module, dict[str, ParametrizationList]] = {}
    for prefix, module in named_modules(model):
        for attribute, parts in parametrizations_of(module).items():
            if not any(isinstance(part, Masked) for part in parts):
                continue
            if len(parts) > 1:
                kinds = ", ".join(type(part).__name__ for part in parts)
                raise ArgumentError(
                    f"nothing was changed: {prefix + attribute!r} has several parametrizations "
                    f"({kinds}). Remove all of them with "
                    "torch.nn.utils.parametrize.remove_parametrizations"
                )
            found.setdefault(module, {})[attribute] = parts
    if not found:
        raise ArgumentError(
            f"{type(model).__name__} has no masks. Add them with isoinit.sparse.mask"
        )
    for module, lists in found.items():
        unparametrized(module, {attribute: _zeroed(parts) for attribute, parts in lists.items()})
    return model


@torch.no_grad()
def _zeroed(parts: ParametrizationList) -> nn.Parameter:
    original = cast("nn.Parameter", parts.original)
    original.copy_(parts[0](original))
    return original
