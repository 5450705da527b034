"""Pictures as rows of patches: a vision transformer and a mixer."""

from __future__ import annotations

import os
from typing import Any

import torch
from evidence.contest.development.batches import classified, pictures, training_rows
from evidence.contest.development.convolutional import PICTURE, seen
from evidence.contest.development.recipes import fill, lecun, zero
from evidence.contest.task import Task
from torch import nn

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import ViTConfig, ViTForImageClassification

PATCHES, WIDTH = 16, 32


def vit() -> nn.Module:
    """Return a small vision transformer."""
    sizes: dict[str, Any] = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=96,
            **sizes,
        )
    )


def vision(model: nn.Module) -> None:
    """Fill as the vision transformer's own code: by both fans, positions of 0.02, head of zero."""
    assert isinstance(model, ViTForImageClassification)
    fill(model, nn.init.xavier_uniform_)
    for name, parameter in model.named_parameters():
        if ".mlp." in name and name.endswith("bias"):
            nn.init.normal_(parameter, std=1e-6)
    embeddings = model.vit.embeddings
    lecun(embeddings.patch_embeddings.projection.weight)
    nn.init.zeros_(embeddings.cls_token)
    nn.init.normal_(embeddings.position_embeddings, std=0.02)
    assert isinstance(model.classifier, nn.Linear)
    zero(model.classifier)


class Feed(nn.Sequential):
    """Two linear layers with GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class MixerBlock(nn.Module):
    """Patches are mixed at each channel, then channels at each patch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.tokens, self.channels = Feed(PATCHES, 32), Feed(WIDTH, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    """An MLP-Mixer of four blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTH, 2, stride=2)
        self.blocks = nn.Sequential(*(MixerBlock() for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.blocks(self.stem(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(x).mean(dim=1))


def flax(model: nn.Module) -> None:
    """Fill as the mixer's own code: flax's defaults, and a head of zero."""
    assert isinstance(model, Mixer)
    fill(model, lecun)
    zero(model.head)


TASKS = {
    "ViT": Task(
        vit,
        lambda step: seen(training_rows(pictures()[0], step, 16)),
        lambda: seen(pictures()[1]),
        vision,
        "Dosovitskiy et al. 2021, its code: uniform by both fans, MLP biases 1e-6, positions 0.02, "
        "patches LeCun, class token and head zero",
    ),
    "MLP-Mixer": Task(
        Mixer,
        *classified(PICTURE, 32),
        flax,
        "Tolstikhin et al. 2021, appendix E: flax's LeCun normal, biases and head of zero",
    ),
}
