"""What several published recipes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import nn

Layer: TypeAlias = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


def layers(model: nn.Module) -> Iterator[Layer]:
    """Yield the linear and convolutional layers in their order."""
    for module in model.modules():
        if isinstance(module, Layer):
            yield module


def fill(
    model: nn.Module, weight: Callable[[torch.Tensor], object], bias: float | None = 0.0
) -> None:
    """Fill each layer's weight, and set its bias, where it has one, unless `bias` is None."""
    for layer in layers(model):
        weight(layer.weight)
        if layer.bias is not None and bias is not None:
            nn.init.constant_(layer.bias, bias)


def he(model: nn.Module) -> None:
    """Fill as He et al. 2015, equation 10: normal, fan-in, biases of zero."""
    fill(model, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))


def xavier(model: nn.Module) -> None:
    """Fill as Glorot & Bengio 2010, equation 16: uniform, biases of zero."""
    fill(model, nn.init.xavier_uniform_)


def lecun(weight: torch.Tensor) -> None:
    """Fill as flax's `Dense` and `Conv` by default: normal of variance one over the fan-in."""
    nn.init.kaiming_normal_(weight, nonlinearity="linear")


def zero(layer: Layer) -> None:
    """Set a layer to zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
