"""Small models, each with a task: handwritten digits, or the characters of a text."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from evidence.claims.digits import BATCH, Step, classified, digits, some
from torch import nn
from torch.nn.functional import mse_loss

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

TEXT = Path(__file__).parents[2] / "LICENSE"  # some eleven thousand characters that do not change
LENGTH, WIDTH, DEPTH = 32, 64, 20
SIZE = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
ENDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}


@dataclass(frozen=True)
class Task:
    """A model and what it learns.

    Attributes:
        build: a new model.
        data: the batch of a step, and its loss.
        goal: a loss to reach: half of the loss of a model that knows nothing.
    """

    build: Callable[[], nn.Module]
    data: Callable[[int], Step]
    goal: float


@cache
def characters() -> torch.Tensor:
    """A text as numbers below 100."""
    text = TEXT.read_text(encoding="utf-8")
    known = {c: i for i, c in enumerate(sorted(set(text)))}
    return torch.tensor([known[c] for c in text])


def rebuilt(step: int) -> Step:
    """Digits to be given back."""
    x, _ = digits()
    batch = x[some(step, len(x), BATCH)]
    return batch, lambda output: mse_loss(output, batch)


def seen(step: int) -> Step:
    """Digits as pictures, for a model that works out its own loss."""
    x, y = digits()
    rows = some(step, len(x), BATCH // 2)
    return {"pixel_values": x[rows].unflatten(1, (1, 8, 8)), "labels": y[rows]}, None


def read(step: int) -> Step:
    """Pieces of a text, each character to be told from those before it."""
    text = characters()
    starts = some(step, len(text) - LENGTH, 12)
    ids = torch.stack([text[start : start + LENGTH] for start in starts.tolist()])
    return {"input_ids": ids, "labels": ids}, None


def plain(activation: Callable[[], nn.Module]) -> nn.Module:
    """Twenty layers, without norm or skip."""
    hidden = [m for _ in range(DEPTH - 1) for m in (nn.Linear(WIDTH, WIDTH), activation())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, 10))


def convolutions() -> nn.Module:
    """Twelve convolutions, without norm or skip."""
    sizes = [1, *[8] * 4, *[16] * 4, *[32] * 4]
    layers = [
        m
        for n_in, n_out in pairwise(sizes)
        for m in (
            nn.Conv2d(n_in, n_out, 3, stride=1 + (n_in > 1 and n_out > n_in), padding=1),
            nn.ReLU(),
        )
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def autoencoder() -> nn.Module:
    """Digits through eight numbers and back."""
    sizes = [64, 128, 96, 64, 32, 8, 32, 64, 96, 128]
    layers = [m for pair in pairwise(sizes) for m in (nn.Linear(*pair), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(128, 64))


class Residual(nn.Module):
    """Ten residual blocks, without norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
            for _ in range(10)
        )
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Reader(nn.Module):
    """A recurrent network that sees a digit two pixels at a time, and tells it at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(2, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        return self.head(self.memory(x)[0][:, -1])


def _gpt2() -> nn.Module:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=100, n_positions=LENGTH, n_embd=48, n_layer=3, n_head=4, **ENDS)
    )


def _llama() -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(vocab_size=100, intermediate_size=128, **SIZE))


def _vit() -> nn.Module:
    sizes = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}
    return ViTForImageClassification(ViTConfig(**sizes, intermediate_size=192, **SIZE))


def _resnet() -> nn.Module:
    sizes = {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [2, 2], "num_labels": 10}
    return ResNetForImageClassification(ResNetConfig(num_channels=1, layer_type="basic", **sizes))


GUESS, NEXT = 1.15, 2.3  # half of ln 10 and of ln 100
TASKS = {
    "MLP, ReLU": Task(partial(plain, nn.ReLU), classified, GUESS),
    "MLP, tanh": Task(partial(plain, nn.Tanh), classified, GUESS),
    "MLP, SiLU": Task(partial(plain, nn.SiLU), classified, GUESS),
    "residual MLP": Task(Residual, classified, GUESS),
    "autoencoder": Task(autoencoder, rebuilt, 0.5),
    "CNN": Task(convolutions, partial(classified, shape=(1, 8, 8)), GUESS),
    "ResNet": Task(_resnet, seen, GUESS),
    "ViT": Task(_vit, seen, GUESS),
    "GPT-2": Task(_gpt2, read, NEXT),
    "Llama": Task(_llama, read, NEXT),
    "LSTM": Task(Reader, partial(classified, shape=(32, 2)), GUESS),
}
