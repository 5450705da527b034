"""Pairs: pictures with captions, the same character or another."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.fresh.images import grid, shapes
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import CLIPConfig, CLIPModel

# Pictures and captions

NAMES = ("disc", "ring", "square", "frame", "cross", "arrow")
CAPTION = 8


def clip() -> nn.Module:
    """Return a small CLIP of transformers."""
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64}
    sizes |= {"num_hidden_layers": 1, "num_attention_heads": 4}
    ends = {"bos_token_id": 0, "eos_token_id": 31, "pad_token_id": 31}
    text = {"vocab_size": 32, "max_position_embeddings": CAPTION, **ends, **sizes}
    vision = {"image_size": 20, "patch_size": 5, **sizes}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))


@cache
def captions(seed: int, count: int) -> torch.Tensor:
    """Return captions of coloured shapes as ids: how bright red, green and blue are, and the shape."""
    x, kind = shapes(seed, count)
    g = seeded(seed)
    outer = torch.cat([x[:, :, 0], x[:, :, -1]], dim=2).mean(2)
    tones = ((outer + 1) * 3).long().clamp(0, 2)
    article = torch.randint(2, (count,), generator=g)
    first, last = torch.zeros(count, dtype=torch.long), torch.full((count,), 31)
    words = [first, 1 + article, 3 + tones[:, 0], 6 + tones[:, 1], 9 + tones[:, 2], 12 + kind]
    return torch.stack([*words, last, last], dim=1)


def captioned(step: int, seed: int = 74, count: int = 2048, batch: int = 16) -> Step:
    """Return pictures and captions, each to be matched with the other."""
    at = rows(step, count, batch)
    inputs = {"input_ids": captions(seed, count)[at], "pixel_values": shapes(seed, count)[0][at]}
    own = torch.arange(batch)

    def loss(output: Any) -> torch.Tensor:
        logits = output.logits_per_text
        return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2

    return inputs, loss


# The same character, or another


@cache
def characters(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return written characters of an alphabet of twelve, inked between 0 and 1, and which each is."""
    g, known = seeded(seed), seeded(75)
    knots = uniform(known, 12, 3, 3, 2, low=-0.75, high=0.75)
    kind = torch.randint(12, (count,), generator=g)
    strokes = knots[kind] + 0.07 * torch.randn(count, 3, 3, 2, generator=g)
    t = torch.linspace(0, 1, 12)[:, None]
    curve = (
        (1 - t) ** 2 * strokes[:, :, None, 0]
        + 2 * t * (1 - t) * strokes[:, :, None, 1]
        + t**2 * strokes[:, :, None, 2]
    ).flatten(1, 2)
    y, x = grid(20)
    place = torch.stack([x.flatten(), y.flatten()], dim=1)
    near = torch.cdist(place.expand(count, -1, -1), curve).amin(2)
    return torch.exp(-((near / 0.1) ** 2)).view(count, 1, 20, 20), kind


class Siamese(nn.Module):
    """Two pictures through the same convolutions, and the weighted distance of what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 12, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 2),
            nn.ReLU(),
        )
        self.linear = nn.Sequential(nn.Linear(128, 96), nn.Sigmoid())
        self.out = nn.Linear(96, 1)

    def forward_one(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of a picture."""
        return self.linear(self.conv(x).flatten(1))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the logit that both show the same character."""
        return self.out((self.forward_one(a) - self.forward_one(b)).abs()).squeeze(1)


def koch(model: nn.Module) -> None:
    """Fill convolutions with N(0, 0.01), linear layers with N(0, 0.2), biases with N(0.5, 0.01)."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.01 if isinstance(module, nn.Conv2d) else 0.2)
            nn.init.normal_(model.get_parameter(f"{name}.bias"), mean=0.5, std=0.01)


def compared(step: int, seed: int = 76, count: int = 1000, batch: int = 16) -> Step:
    """Return pairs of characters, half of them of the same."""
    x, kind = characters(seed, count)
    a = rows(step, count, batch)
    order = torch.randint(count, (batch, 60), generator=seeded(step + 2 * HELD))
    alike = kind[order] == kind[a][:, None]
    wanted = (torch.arange(batch) % 2 == 0)[:, None]
    b = order.gather(1, (alike == wanted).float().argmax(1, keepdim=True))[:, 0]
    same = (kind[a] == kind[b]).float()
    inputs = {"a": x[a], "b": x[b]}
    return inputs, lambda output: binary_cross_entropy_with_logits(output, same)


PAIRS = {
    "CLIP, captions": Task(
        clip,
        captioned,
        lambda: captioned(0, HELD + 74, 64, 64),
        None,
        "transformers' CLIP fills itself as Radford et al. 2021: by width and depth",
    ),
    "siamese convolutions, characters": Task(
        Siamese,
        compared,
        lambda: compared(0, HELD + 76, 256, 256),
        koch,
        "Koch et al. 2015, section 3.2: N(0, 0.01), N(0, 0.2), biases N(0.5, 0.01)",
    ),
}
