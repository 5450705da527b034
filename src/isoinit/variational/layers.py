"""The fast path of linear and convolutional layers: noise for each example, made at their output.

A draw of the weights that a whole batch shares makes the gradients of its examples alike in their
noise. Two ways give each example its own, at the price of a second product:

- "local" samples the output in place of the weight: for an input x it is normal with mean xμᵀ and
  variance x²(σ²)ᵀ (Kingma et al. 2015, section 2.1). Exact where a weight meets each example
  once; along a sequence or an image each place gets noise of its own, which weights would share.
- "flipout" turns the signs of one draw, for each example by a vector at the input and one at the
  output: x∘s times the draw's deviation, ∘r (Wen et al. 2018, eq. 4). Signs are shared along sequences
  and images, so that it is exact for each example by itself.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import nn

from isoinit.variational.gaussian import GaussianWeight, distribution_of
from isoinit.variational.noise import new_index, normals

EXACT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Product(Protocol):
    def __call__(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor: ...


def follow_noise(layer: nn.Module) -> None:
    """Have an exact linear or convolutional layer follow its weight's `noise`."""
    # The class is the layer's own: registering a parametrization has just made it.
    kind: Any = type(layer)
    kind.forward = _forward


def _forward(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    parts = distribution_of(layer, "weight")
    assert parts is not None
    gaussian, mean = parts
    bias = cast("torch.Tensor | None", layer.bias)
    convolution = isinstance(layer, nn.modules.conv._ConvNd)
    product = cast("_Product", layer._conv_forward if convolution else F.linear)
    if gaussian.noise == "common":
        return product(x, cast("torch.Tensor", layer.weight), bias)
    # One number a place and channel, or (*, features); what comes before is a batch, or nothing.
    spots = mean.ndim - 2
    inputs, outputs = (-spots - 1, -spots - 1) if convolution else (-1, -1)
    if gaussian.noise == "local":
        return _local(product, x, mean, gaussian, bias)
    shared = product(x, mean, bias)
    before = _signs(x, inputs, f"{gaussian.name}/in", convolution, spots)
    own = product(x * before, gaussian.deviation(mean), None)
    return shared + own * _signs(own, outputs, f"{gaussian.name}/out", convolution, spots)


def _local(
    product: _Product,
    x: torch.Tensor,
    mean: torch.Tensor,
    gaussian: GaussianWeight,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    shared = product(x, mean, bias)
    if shared.dtype == torch.float16:  # squares of usual spreads are below its smallest number
        with torch.autocast(x.device.type, enabled=False):
            variance = product(x.float().square(), (2 * gaussian.log_std.float()).exp(), None)
    else:
        variance = product(x.square(), (2 * gaussian.log_std).exp(), None)
    # The least variance keeps the root's slope finite where the input is zero.
    std = variance.clamp_min(1e-12).sqrt().to(shared.dtype)
    noise = normals(new_index(), shared.shape, gaussian.name, shared.dtype, shared.device)
    return torch.addcmul(shared, std, noise)


def _signs(
    tensor: torch.Tensor, axis: int, name: str, convolution: bool, spots: int
) -> torch.Tensor:
    """A random sign for each example and feature, the same along all other axes."""
    batched = tensor.ndim == spots + 2 if convolution else tensor.ndim > 1
    shape = [1] * tensor.ndim
    shape[axis] = tensor.shape[axis]
    if batched:
        shape[0] = tensor.shape[0]
    noise = normals(new_index(), shape, name, tensor.dtype, tensor.device)
    return torch.ones_like(noise).copysign(noise)
