"""Images: segmentation, classification of shapes and textures."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
)

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import ConvNextConfig, ConvNextForImageClassification


def grid(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the y and x of each pixel, between -1 and 1, of shape (1, size, size)."""
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return y[None], x[None]


# Segmentation


@cache
def cells(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy micrographs of up to three elliptic cells, standardized, and their masks."""
    g = seeded(seed)
    y, x = grid(20)
    mask = torch.zeros(count, 20, 20)
    for number in range(3):
        cy, cx, ry, rx, angle = uniform(g, 5, count, 1, 1, low=-0.8, high=0.8)
        ry, rx = 0.2 + 0.2 * ry.abs(), 0.2 + 0.3 * rx.abs()
        u = (x - cx) * torch.cos(2 * angle) + (y - cy) * torch.sin(2 * angle)
        v = (y - cy) * torch.cos(2 * angle) - (x - cx) * torch.sin(2 * angle)
        inside = (u / rx) ** 2 + (v / ry) ** 2 < 1
        mask = torch.maximum(mask, (inside & (uniform(g, count, 1, 1) > number / 4)).float())
    light = uniform(g, count, 1, 1, low=0.5, high=1.2)
    slope = uniform(g, count, 1, 1, low=-0.3, high=0.3) * x
    image = light * mask + slope + 0.35 * torch.randn(count, 20, 20, generator=g)
    return ((image - 0.3) / 0.6)[:, None], mask[:, None]


def double(n_in: int, n_out: int) -> nn.Sequential:
    """Return two convolutions of a U-Net, with batch norm."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """A U-Net of three levels that marks each pixel."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.inc = double(1, width)
        self.down1 = double(width, 2 * width)
        self.down2 = double(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.conv2 = double(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.conv1 = double(2 * width, width)
        self.outc = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logit of each pixel."""
        x1 = self.inc(x)
        x2 = self.down1(self.pool(x1))
        x3 = self.down2(self.pool(x2))
        x = self.conv2(torch.cat([x2, self.up2(x3)], dim=1))
        x = self.conv1(torch.cat([x1, self.up1(x)], dim=1))
        return self.outc(x)


def ronneberger(model: nn.Module) -> None:
    """Fill as section 3 of the paper: normal with variance 2 / incoming connections."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def marked(step: int, seed: int = 1, count: int = 512, batch: int = 4) -> Step:
    """Return micrographs, each pixel to be marked."""
    x, y = cells(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: binary_cross_entropy_with_logits(output, y[at])


# Classification of coloured shapes


@cache
def shapes(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return coloured shapes before coloured noise, between -1 and 1, and which shape each is."""
    g = seeded(seed)
    y, x = grid(20)
    kind = torch.randint(6, (count,), generator=g)
    cy, cx = uniform(g, 2, count, 1, 1, low=-0.35, high=0.35)
    size = uniform(g, count, 1, 1, low=0.35, high=0.6)
    u, v = (x - cx) / size, (y - cy) / size
    r, box = (u**2 + v**2).sqrt(), torch.maximum(u.abs(), v.abs())
    thin = torch.minimum(u.abs(), v.abs())
    ways = torch.stack(
        [
            r < 1,
            (r < 1) & (r > 0.6),
            box < 0.9,
            (box < 0.9) & (box > 0.55),
            (box < 1) & (thin < 0.3),
            (v < 0.8) & (v > 2 * u.abs() - 0.9),
        ]
    )
    mask = ways[kind, torch.arange(count)][:, None].float()
    front = uniform(g, count, 3, 1, 1, low=0.5)
    back = uniform(g, count, 3, 1, 1, high=0.5)
    image = mask * front + (1 - mask) * back + 0.1 * torch.randn(count, 3, 20, 20, generator=g)
    return (image - 0.5) / 0.5, kind


class InvertedResidual(nn.Module):
    """A block of MobileNetV2: widen, filter each channel, narrow."""

    def __init__(self, n_in: int, n_out: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = n_in * expand
        self.use_res = stride == 1 and n_in == n_out
        self.conv = nn.Sequential(
            nn.Conv2d(n_in, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, added to its input where the shapes allow it."""
        return x + self.conv(x) if self.use_res else self.conv(x)


class MobileNet(nn.Module):
    """A small MobileNetV2."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(inplace=True),
            InvertedResidual(8, 12, 1, 2),
            InvertedResidual(12, 12, 1, 3),
            InvertedResidual(12, 24, 2, 3),
            InvertedResidual(24, 24, 1, 3),
            nn.Conv2d(24, 64, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU6(inplace=True),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.classifier(self.features(x).mean([2, 3]))


def mobilenet(model: nn.Module) -> None:
    """Fill as torchvision's MobileNetV2."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)


def shaped(step: int, seed: int = 2, count: int = 1024, batch: int = 12) -> Step:
    """Return coloured shapes, to be classified."""
    x, y = shapes(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: cross_entropy(output, y[at])


# Textures


@cache
def textures(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return oriented gratings under noise, and which of eight orientations and pitches each has."""
    g = seeded(seed)
    y, x = grid(16)
    kind = torch.randint(8, (count,), generator=g)
    angle = (kind % 4)[:, None, None] * torch.pi / 4
    angle = angle + 0.15 * torch.randn(count, 1, 1, generator=g)
    pitch = torch.where(kind < 4, 5.0, 9.0)[:, None, None]
    phase = uniform(g, count, 1, 1, high=6.3)
    wave = torch.sin(pitch * (x * torch.cos(angle) + y * torch.sin(angle)) + phase)
    return (wave + 0.6 * torch.randn(count, 16, 16, generator=g))[:, None], kind


def convnext() -> nn.Module:
    """Return a small ConvNeXt of transformers."""
    sizes: dict[str, Any] = {
        "num_labels": 8,
        "hidden_sizes": [16, 32, 48],
        "depths": [1, 1, 1],
        "num_stages": 3,
    }
    return ConvNextForImageClassification(ConvNextConfig(num_channels=1, patch_size=2, **sizes))


def woven(step: int, seed: int = 3, count: int = 1024, batch: int = 16) -> Step:
    """Return textures to be classified, for a model that works out its own loss."""
    x, y = textures(seed, count)
    at = rows(step, count, batch)
    return {"pixel_values": x[at], "labels": y[at]}, None


IMAGES = {
    "U-Net, cells": Task(
        UNet,
        marked,
        lambda: marked(0, HELD + 1, 128, 128),
        ronneberger,
        "Ronneberger et al. 2015, section 3: N(0, sqrt(2 / incoming))",
    ),
    "MobileNetV2, coloured shapes": Task(
        MobileNet,
        shaped,
        lambda: shaped(0, HELD + 2, 256, 256),
        mobilenet,
        "torchvision's MobileNetV2: He normal by fan out, N(0, 0.01) for the classifier",
    ),
    "ConvNeXt, textures": Task(
        convnext,
        woven,
        lambda: woven(0, HELD + 3, 256, 256),
        None,
        "transformers' ConvNeXt fills itself: N(0, 0.02), layer scale 1e-6",
    ),
}
