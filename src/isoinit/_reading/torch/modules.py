"""Reads a model from its modules alone, without running it: a guess at what a run would show.

Layers are taken in the order in which they were registered, each feeding the next. That is right for
`nn.Sequential` and a guess for anything else, and every plan entry made from it says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from isoinit._reading.graph import Graph
from isoinit._reading.torch.fakes import as_fake, quiet_fakes
from isoinit._reading.torch.record import Recorder
from isoinit._reading.torch.run import recording
from isoinit._reading.torch.trees import tensors_in
from isoinit._system.private import FakeTensorMode

# Layers that call their children's weights themselves, so the children are not run.
WHOLE = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)


def structure(model: nn.Module) -> Graph:
    """A graph of the layers in the order of their registration; the model is left as it was."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fake = as_fake(mode, torch.device("cpu"))
    last: torch.Tensor | None = None
    with recording(model, lend=fake) as (inner, recorder), torch.no_grad(), mode, quiet_fakes():
        for layer in leaf_layers(inner):
            last = _step(layer, last, recorder)
        return recorder.graph(last, "structure")


def leaf_layers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a model in the order of their registration."""
    if is_layer(module):
        yield module
        return
    for child in _children(module):
        yield from leaf_layers(child)


def is_layer(module: nn.Module) -> bool:
    """Return whether a module is run as one: no layers inside, or it calls their weights itself."""
    return isinstance(module, WHOLE) or not _children(module)


def _children(module: nn.Module) -> list[nn.Module]:
    return [child for name, child in module.named_children() if name != "parametrizations"]


def _step(layer: nn.Module, last: torch.Tensor | None, recorder: Recorder) -> torch.Tensor | None:
    """Run one layer on what came before or, where that does not fit, on an input that does."""
    candidates = _inputs(layer, last, recorder)
    while True:
        try:
            inputs = next(candidates)
            with recorder:
                result = layer(*inputs)
        except StopIteration:  # a layer that takes something else: it stays unread
            return last
        except Exception:  # whatever a layer raises on what it does not take
            continue
        return next(tensors_in(result), last)


def _inputs(
    layer: nn.Module, last: torch.Tensor | None, recorder: Recorder
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield what a layer may take: what comes before it, or inputs that stand for that."""
    value = None if last is None else recorder.known.value(last)
    with torch.device("cpu"):
        example = _example(layer)
        inputs = _as_long(layer) if example is None else example
    if example is None and last is not None:
        yield (last,)
    typed = tuple(_as_typed(layer, tensor) for tensor in inputs)
    for tensor in typed:
        recorder.mark_value(tensor, value)
    if typed:
        yield typed


def _as_long(layer: nn.Module) -> tuple[torch.Tensor, ...]:
    """Return units as many as a layer's vector has, such as that of a norm layer of its own kind."""
    own = next(iter(layer.parameters(recurse=False)), None)
    return () if own is None or own.dim() != 1 else (torch.empty(2, len(own)),)


def _as_typed(layer: nn.Module, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the device of the layer's parameters, and if it is no index in their type."""
    like = next((p for p in layer.parameters() if p.is_floating_point()), tensor)
    return tensor.to(like) if tensor.is_floating_point() else tensor.to(like.device)


def _example(layer: nn.Module) -> tuple[torch.Tensor, ...] | None:
    """An input of the shape that one of torch's own layers takes; None for any other layer."""
    if isinstance(layer, nn.Linear):
        return (torch.empty(2, layer.in_features),)
    if isinstance(layer, nn.modules.conv._ConvNd):
        reach = [
            2 * (d * (k - 1) + 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
        ]
        return (torch.empty(2, layer.in_channels, *reach),)
    if isinstance(layer, nn.Bilinear):
        return (torch.empty(2, layer.in1_features), torch.empty(2, layer.in2_features))
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        return (torch.zeros(2, 3, dtype=torch.long),)
    if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        return (torch.empty(2, *layer.normalized_shape),)
    if isinstance(layer, nn.GroupNorm):
        return (torch.empty(2, layer.num_channels, 4),)
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        dims = next((n for n in (1, 2, 3) if f"{n}d" in type(layer).__name__), 1)
        return (torch.empty(2, layer.num_features, *[4] * dims),)
    if isinstance(layer, nn.RNNBase):
        return (torch.empty(3, 2, layer.input_size),)
    if isinstance(layer, nn.RNNCellBase):
        return (torch.empty(2, layer.input_size),)
    if isinstance(layer, nn.MultiheadAttention):
        sizes = (layer.embed_dim, layer.kdim, layer.vdim)
        return tuple(torch.empty(3, 2, size) for size in sizes)
    return None
