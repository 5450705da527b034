"""Initializers that are called on a tensor or on one module, as `torch.nn.init` is used.

`HeNormal()(layer.weight)` knows a shape. `HeNormal()(layer)` knows the layer, so groups, strides,
transposition and packed gates count. `model.apply(HeNormal())` calls it on every module.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isoinit._drawing.streams import Stream
from isoinit._reading.roles import read_roles
from isoinit._reading.torch import structure
from isoinit._reading.torch.modules import is_layer
from isoinit._writing.entry import law_for
from isoinit._writing.fill import array_type, fill_tensor
from isoinit._writing.refusals import refuse_unfillable
from isoinit._writing.seeds import draw_seed
from isoinit._writing.torch_init import asks_first
from isoinit.errors import ArgumentError, PlanError
from isoinit.initializers import Initializer, Zeros
from isoinit.initializers.scale import Layout, fans


def call(initializer: Initializer, target: Any, generator: Generator | None) -> None:
    """Fill a tensor, or what an initializer is meant for among a module's own parameters.

    Raises:
        ArgumentError: as `Initializer.__call__` does.
    """
    if isinstance(target, nn.Module):
        for parameter, layout, meant in _own(initializer, target):
            _write(parameter, meant, layout, generator)
    elif isinstance(target, Tensor):
        _write(target, initializer, fans.of_tensor(target.shape), generator)
    else:
        raise ArgumentError(
            f"{initializer} was called on a {type(target).__name__}; expected a torch.Tensor or a "
            "torch.nn.Module. For an array use isoinit.fill_slice"
        )


def refuse(tensor: Tensor, least: int = 0, most: float = math.inf) -> None:
    """Refuse what is no tensor, cannot hold the values, or has not `least` to `most` axes."""
    if not isinstance(tensor, Tensor):
        raise ArgumentError(f"tensor is a {type(tensor).__name__}; expected a torch.Tensor")
    try:
        refuse_unfillable({"tensor": tensor}, now=not tensor.is_meta)
    except PlanError as error:
        raise ArgumentError(str(error)) from None
    if not least <= tensor.ndim <= most:
        more = "" if most == least else " or more" if most == math.inf else f" to {most}"
        raise ArgumentError(f"tensor has shape {tuple(tensor.shape)}; expected {least}{more} axes")


def stream_of(tensor: Tensor, name: str, generator: Generator | None) -> Stream:
    """Return the random numbers of one call: its seed is drawn from a generator of torch.

    Raises:
        ArgumentError: if `generator` is none.
    """
    source = torch.default_generator if generator is None else generator
    if not isinstance(source, Generator):
        raise ArgumentError(f"generator is a {type(source).__name__}; expected a torch.Generator")
    return Stream(0 if tensor.is_meta else draw_seed(source), name)


def fill(
    tensor: Tensor,
    initializer: Initializer,
    stream: Stream | None = None,
    layout: Layout | None = None,
) -> Tensor:
    """Fill a tensor; one without memory is left as it is.

    Args:
        tensor: that `refuse` let pass.
        initializer: what to fill it with.
        stream: its random numbers; None for fixed values.
        layout: what its axes mean; by default what `torch.nn.init` takes from the shape.
    """
    layout = layout or fans.of_tensor(tensor.shape)
    if tensor.is_meta:
        # Refuse what does not fit, as with memory.
        law_for(initializer, layout, array_type(tensor.dtype))
        return tensor
    fill_tensor(tensor, initializer, layout, stream or Stream(0, "fixed values"))
    return tensor


@asks_first
def draw_(
    tensor: Tensor, initializer: Initializer, layout: Layout, generator: Generator | None
) -> Tensor:
    """Fill with random values. What watches the writes of a model knows this one by its name."""
    refuse(tensor)
    law_for(initializer, layout, array_type(tensor.dtype))  # or a seed would be drawn in vain
    name = type(initializer).__name__
    return fill(tensor, initializer, stream_of(tensor, name, generator), layout)


@asks_first
def fix_(tensor: Tensor, initializer: Initializer, layout: Layout) -> Tensor:
    """Fill with values that are the same under every seed."""
    refuse(tensor)
    return fill(tensor, initializer, None, layout)


def _write(
    tensor: Tensor, initializer: Initializer, layout: Layout, generator: Generator | None
) -> None:
    if initializer.is_fixed:
        fix_(tensor, initializer, layout)
    else:
        draw_(tensor, initializer, layout, generator)


def _own(
    initializer: Initializer, module: nn.Module
) -> Iterator[tuple[nn.Parameter, Layout, Initializer]]:
    """What a layer has for an initializer: its weights, and zeros for the biases beside them.

    A table adds no inputs up, so that a scale by fans means nothing there: it is left to initializers
    that fill vectors, too.
    """
    own = dict(module.named_parameters(recurse=False))
    if not own or not is_layer(module):
        return
    for parameter in own.values():
        refuse(parameter)
    graph = structure(module)
    roles = {n: role for n, role in read_roles(graph, lambda: graph).items() if n in own}
    free = _needs_no_fans(initializer)
    weights = [n for n, r in roles.items() if "weight" in r.slot or (r.slot == "table" and free)]
    for name in weights:
        yield own[name], roles[name].layout, initializer
    for name, role in roles.items():
        if weights and "bias" in role.slot:
            yield own[name], role.layout, Zeros()


def _needs_no_fans(initializer: Initializer) -> bool:
    try:
        initializer.std_for(fans.vector((2,)))
    except ArgumentError:
        return False
    return True
