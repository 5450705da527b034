"""Convolutional networks: plain, very deep, residual, and one that takes noise away."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import torch
from evidence.contest.development.batches import (
    HELD_OUT,
    Rows,
    classified,
    drawn,
    pictures,
    training_rows,
)
from evidence.contest.development.recipes import fill, he, layers
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import ResNetConfig, ResNetForImageClassification

PICTURE = (1, 8, 8)
SIDE, TEXTURES = 16, 4


def stages() -> nn.Module:
    """Return twelve convolutions without norm or skip."""
    sizes = [1, *[8] * 4, *[16] * 4, *[32] * 4]
    hidden = [
        m
        for n_in, n_out in pairwise(sizes)
        for m in (
            nn.Conv2d(n_in, n_out, 3, stride=1 + (n_in > 1 and n_out > n_in), padding=1),
            nn.ReLU(),
        )
    ]
    return nn.Sequential(*hidden, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def vgg(model: nn.Module) -> None:
    """Fill as torchvision's VGG."""
    for layer in layers(model):
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
        else:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


def forty() -> nn.Module:
    """Return forty convolutions with tanh, without norm or skip: a class for each pixel."""
    hidden = [m for _ in range(38) for m in (nn.Conv2d(10, 10, 3, padding=1), nn.Tanh())]
    return nn.Sequential(
        nn.Conv2d(1, 10, 3, padding=1), nn.Tanh(), *hidden, nn.Conv2d(10, TEXTURES, 3, padding=1)
    )


def textured(seed: int, count: int) -> Step:
    """Return pictures of regions with textures, and the cross entropy of each pixel's texture."""
    random = drawn(seed)
    place = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"), -1)
    centres = torch.rand(count, 1, 1, TEXTURES, 2, generator=random) * SIDE
    kind = (place[:, :, None, :] - centres).norm(dim=-1).argmin(-1)
    row, column = place[..., 0] % 2 * 2.0 - 1, place[..., 1] % 2 * 2.0 - 1
    flat, board = torch.zeros(SIDE, SIDE), row * column
    patterns = torch.stack([flat, row, column, board]).expand(count, -1, -1, -1)
    clean = patterns.gather(1, kind[:, None])
    noise = 0.5 * torch.randn(clean.shape, generator=random)
    return clean + noise, lambda output: cross_entropy(output, kind)


def delta_orthogonal(weight: torch.Tensor) -> None:
    """Fill a kernel with an orthogonal matrix at its middle and zero around."""
    n_out, n_in, height, width = weight.shape
    with torch.no_grad():
        weight.zero_()
        weight[:, :, height // 2, width // 2] = nn.init.orthogonal_(torch.empty(n_out, n_in))


def residual() -> nn.Module:
    """Return a small residual network with batch norm."""
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [2, 2]}
    sizes["num_labels"] = 10
    return ResNetForImageClassification(ResNetConfig(num_channels=1, layer_type="basic", **sizes))


def zero_gamma(model: nn.Module) -> None:
    """Fill as ResNets of large batches: He's by the fan-out, each block's last scale of zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for name, module in model.named_modules():
        if name.endswith("layer.1.normalization"):
            nn.init.zeros_(module.weight)


def seen(rows: Rows) -> Step:
    """Return pictures for a model that works out its own loss."""
    return {"pixel_values": rows[0].unflatten(1, PICTURE), "labels": rows[1]}, None


def double(n_in: int, n_out: int) -> nn.Module:
    """Return two convolutions with ReLU."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_out, n_out, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """A U-Net of three sizes, without norm."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = double(1, 12), double(12, 24)
        self.bottom = double(24, 48)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(48, 24, 2, stride=2)
        self.merge2 = double(48, 24)
        self.up1 = nn.ConvTranspose2d(24, 12, 2, stride=2)
        self.merge1 = double(24, 12)
        self.out = nn.Conv2d(12, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a picture for each."""
        fine = self.down1(x)
        coarse = self.down2(self.pool(fine))
        x = self.up2(self.bottom(self.pool(coarse)))
        x = self.up1(self.merge2(torch.cat([coarse, x], dim=1)))
        return self.out(self.merge1(torch.cat([fine, x], dim=1)))


def cleaned(rows: Rows, seed: int) -> Step:
    """Return digits under noise, and the distance from the digits."""
    clean = rows[0].unflatten(1, PICTURE)
    noisy = clean + torch.randn(clean.shape, generator=drawn(seed))
    return noisy, lambda output: mse_loss(output, clean)


TASKS = {
    "CNN": Task(
        stages,
        *classified(PICTURE, 32),
        vgg,
        "torchvision's VGG: He normal by the fan-out, linear layers N(0, 0.01), biases of zero",
    ),
    "CNN of 40 layers, textures": Task(
        forty,
        lambda step: textured(step, 1),
        lambda: textured(HELD_OUT, 16),
        lambda model: fill(model, delta_orthogonal),
        "Xiao et al. 2018, algorithm 1: delta-orthogonal kernels, biases of zero",
    ),
    "ResNet": Task(
        residual,
        lambda step: seen(training_rows(pictures()[0], step, 32)),
        lambda: seen(pictures()[1]),
        zero_gamma,
        "Goyal et al. 2017, section 5.1: He normal, head N(0, 0.01), last scale of each block zero",
    ),
    "U-Net that denoises digits": Task(
        UNet,
        lambda step: cleaned(training_rows(pictures()[0], step, 16), step),
        lambda: cleaned(pictures()[1], HELD_OUT),
        he,
        "Ronneberger et al. 2015, section 3: normal of std sqrt(2 / fan-in)",
    ),
}
