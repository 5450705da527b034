"""Tensors that a call makes of parameters alone: a view of one, or a function of some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from isoinit._reading.graph import BESIDE, SUMS, Length, ReplayError
from isoinit._reading.torch.calls import ALTERING, COPIES, MOVES, PICKS, is_float
from isoinit._reading.torch.constants import Constant
from isoinit._reading.torch.kernels import in_order
from isoinit._reading.torch.made import Node, made_nodes, parameter_node
from isoinit._reading.torch.readers.call import Weight
from isoinit._reading.torch.real import on_real_memory
from isoinit._reading.torch.replay import Recorded, composed, replay_of
from isoinit._reading.torch.trees import tensors_in

MASKED = -1e3  # what is added to scores that softmax is to leave out is below


@dataclass(frozen=True)
class Known:
    """What a recorder knows of tensors.

    Attributes:
        weight: how a tensor is made of parameters; None for others.
        constant: what is known of a constant; None for others.
        shapes: the shape of every parameter.
    """

    weight: Callable[[torch.Tensor], Weight | None]
    constant: Callable[[torch.Tensor], Constant | None]
    shapes: Mapping[str, tuple[int, ...]]

    def node(self, tensor: torch.Tensor) -> Node | None:
        """Return how a tensor is made again of parameters; None if it is made of none."""
        weight = self.weight(tensor)
        return weight.node if weight else None

    def values(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the values of a constant.

        Raises:
            ReplayError: if they are not known; the message says why.
        """
        known = self.constant(tensor)
        if known is None:
            raise ReplayError("a part of the signal")
        return known.values


def parameter(tensor: torch.Tensor, name: str, shapes: dict[str, tuple[int, ...]]) -> Weight:
    """Return what is known of a tensor that is a parameter, of whose shape `shapes` tells."""
    node = parameter_node(name, shapes[name], of_complex=tensor.is_complex())
    return Weight(tensor, (name,), shapes, exact=True, view=in_order(tensor), node=node)


def stood_for(tensor: torch.Tensor, name: str, shapes: Mapping[str, tuple[int, ...]]) -> Weight:
    """Return what is known of a weight that a parameter stands for, of whatever shape it is."""
    node = parameter_node(name, tensor.shape)
    return Weight(tensor, (name,), {**shapes, name: tuple(tensor.shape)}, exact=True, node=node)


def derived(
    name: str,
    call: Recorded,
    weights: Sequence[Weight],
    made: Sequence[torch.Tensor],
    known: Known,
) -> list[Weight]:
    """Return what is known of tensors that a call made of parameters.

    Args:
        name: the call's plain name.
        call: the call.
        weights: the tensors that it read which are made of parameters; at least one.
        made: its results.
        known: what is known of all tensors.
    """
    first, shapes = weights[0], dict(known.shapes)
    if name == "scatter_kept":
        return [_scattered(tensor, first, shapes) for tensor in made]
    names = tuple(dict.fromkeys(name for weight in weights for name in weight.names))
    rearranged = name in MOVES and name not in ALTERING
    moved = len(weights) == 1 and (rearranged or _adds_mask(name, call.args, first, known))
    places = list(tensors_in((call.args[1:], call.kwargs))) if moved and name in PICKS else []
    picked = bool(places) and all(known.constant(tensor) is not None for tensor in places)
    beside = (
        name in BESIDE
        and all(weight.exact or weight.joined for weight in weights)
        and sum(len(weight.names) for weight in weights) == len(names)
    )
    through = tuple(dict.fromkeys(step for weight in weights for step in weight.through))
    function = first.function or (np.positive if picked and first.exact else None)
    if not moved and not beside:
        replay = replay_of(call, lambda tensor: 0 if known.weight(tensor) else None).replay
        alike = first.single and all(weight.tensor is first.tensor for weight in weights)
        function = composed(first.function, replay) if alike else None
        through = (*through, name)
    alone = len(weights) == 1
    follows = moved and first.exact and not picked
    views = _views(name, call, first, made) if follows else [None] * len(made)
    nodes = made_nodes(name, call, known.node, known.values, made)
    return [
        Weight(
            tensor,
            names,
            first.shapes if alone else shapes,
            exact=follows,
            joined=beside or (moved and first.joined),
            through=through,
            function=function,
            kept=first.kept if alone else None,
            view=view,
            node=node,
        )
        for tensor, node, view in zip(made, nodes, views, strict=True)
    ]


def _scattered(tensor: torch.Tensor, first: Weight, shapes: dict[str, tuple[int, ...]]) -> Weight:
    """Return what a weight of `isoinit.sparse` is, whose zeros stand beside what it keeps."""
    node = replace(first.node, reason="its places are not stored")
    sizes = {**shapes, first.names[0]: tuple(tensor.shape)}
    stored = tuple(first.tensor.shape)
    return Weight(tensor, first.names, sizes, exact=True, kept=stored, node=node)


def _views(
    name: str, call: Recorded, first: Weight, made: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """Return for each result the view of a parameter that it is a copy of; None where it is none.

    A copy lies in memory in an order of its own: that of `contiguous`, or with the channels last.
    """
    if name in COPIES and len(made) == 1 and made[0].shape == first.tensor.shape:
        return [first.laid]
    if first.view is None:
        return [None] * len(made)
    try:
        again = call.again(lambda leaf: first.laid if leaf is first.tensor else leaf)
    except RuntimeError:  # it needs the copy: what comes of it is seen as it lies
        return [None] * len(made)
    return [*tensors_in(again)]


def normed_by_length(
    call: Recorded, weight: Callable[[torch.Tensor], Weight | None]
) -> tuple[str, Length] | None:
    """Return the length's name and what it is, if a call normalizes one whole parameter to another.

    That is g·v/‖v‖ by torch's own weight normalization, where v and g are parameters.
    """
    kwargs = call.kwargs
    v, g, dim = [*call.args, *[kwargs[k] for k in ("v", "g", "dim") if k in kwargs], 0][:3]
    direction, length = weight(v), weight(g)
    if direction is None or length is None:
        return None
    if not (isinstance(v, nn.Parameter) and isinstance(g, nn.Parameter)):
        return None  # a part or a function of one
    name = direction.names[0]
    return length.names[0], Length(name, None if dim == -1 else dim % v.dim())


def _adds_mask(name: str, args: Sequence[object], weight: Weight, known: Known) -> bool:
    """Return whether a mask is added: a table of attention biases stays one under it."""
    others = [a for a in args if a is not weight.tensor]
    if name not in SUMS or len(others) != 1 or not isinstance(others[0], torch.Tensor):
        return False
    if not is_float(others[0]) or others[0].numel() < 2:
        return False
    try:
        with on_real_memory(draws=False):
            return bool((known.values(others[0]) < MASKED).any())
    except ReplayError:  # a mask whose values are not at hand; what is made of it says why
        return True
