"""The models, of any width and depth, and what they learn."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from evidence.claims.digits import digits
from evidence.transfer.settings import IMAGES, LENGTH, TEXT_SHA256, WINDOWS
from torch import nn
from torch.nn.functional import cross_entropy

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTForImageClassification

Batch = tuple[Any, torch.Tensor]
"""What a model is called with, and the right answers."""

HEADS = 4  # at every width: the heads grow
EXAMPLE = 8  # windows of the batch that plans and coordinates see


@dataclass(frozen=True)
class Task:
    """A model and what it learns.

    Attributes:
        build: a new model of a width and a depth, as its constructor leaves it.
        batches: training batches, in the order that a seed gives.
        example: one batch that plans and coordinate checks see.
        guess: the loss of a uniform guess.
        words: the model and the data, in a sentence.
    """

    build: Callable[[int, int], nn.Module]
    batches: Callable[[int], Iterator[Batch]]
    example: Callable[[], Any]
    guess: float
    words: str


def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the cross-entropy of a model's answers."""
    given, right = batch
    return loss_of_output(model(**given) if isinstance(given, dict) else model(given), right)


def loss_of_output(output: Any, right: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of what a model returned."""
    logits = output if isinstance(output, torch.Tensor) else output.logits
    return cross_entropy(logits.flatten(0, -2), right.flatten())


@cache
def text() -> torch.Tensor:
    """Return the descriptions of scikit-learn's data sets, a number a character.

    Raises:
        ValueError: if they are not those that the settings name.
    """
    folder = files("sklearn.datasets") / "descr"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".rst")), key=lambda f: f.name)
    whole = "".join(file.read_text(encoding="utf-8") for file in found)
    plain = "".join(c for c in whole if c == "\n" or " " <= c <= "~")
    if hashlib.sha256(plain.encode()).hexdigest() != TEXT_SHA256:
        raise ValueError(
            "scikit-learn's descriptions differ from those of the settings. "
            "Install the version that constraints.txt names."
        )
    codes = {character: code for code, character in enumerate(sorted(set(plain)))}
    return torch.tensor([codes[character] for character in plain])


@cache
def characters() -> int:
    """Return how many different characters the text has."""
    return int(text().max()) + 1


def _windows(count: int, generator: torch.Generator) -> Batch:
    starts = torch.randint(len(text()) - LENGTH, (count,), generator=generator).tolist()
    pieces = torch.stack([text()[start : start + LENGTH + 1] for start in starts])
    return {"input_ids": pieces[:, :-1]}, pieces[:, 1:]


def _windows_of(seed: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield _windows(WINDOWS, generator)


def _images(shape: tuple[int, ...]) -> Callable[[int], Iterator[Batch]]:
    def batches(seed: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        x, y = digits()
        while True:
            for rows in torch.randperm(len(x), generator=generator).split(IMAGES)[:-1]:
                yield x[rows].unflatten(1, shape), y[rows]

    return batches


def _example_images(shape: tuple[int, ...]) -> Callable[[], torch.Tensor]:
    return lambda: digits()[0][:IMAGES].unflatten(1, shape)


def _example_text() -> Any:
    return _windows(EXAMPLE, torch.Generator().manual_seed(99))[0]


def gpt(width: int, depth: int) -> nn.Module:
    """Return a GPT-2 whose table is its readout too."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=characters(),
            n_positions=LENGTH,
            n_embd=width,
            n_layer=depth,
            n_head=HEADS,
            use_cache=False,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def mlp(width: int, depth: int) -> nn.Module:
    """Return hidden layers with ReLU, and a readout."""
    layers: list[nn.Module] = [nn.Linear(64, width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def vit(width: int, depth: int) -> nn.Module:
    """Return a vision Transformer on 16 patches."""
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=depth,
            num_attention_heads=HEADS,
            image_size=8,
            patch_size=2,
            num_channels=1,
            num_labels=10,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(out) for _ in range(2))
        self.down = nn.Conv2d(inside, out, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of the input and the branch."""
        branch = self.norms[1](self.second(self.norms[0](self.first(x)).relu()))
        return (branch + self.down(x)).relu()


def resnet(width: int, depth: int) -> nn.Module:
    """Return a stem, blocks of which the last doubles the channels, and a readout of their means."""
    stem = [nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    blocks = [Block(width, width, 1) for _ in range(depth - 1)] + [Block(width, 2 * width, 2)]
    return nn.Sequential(
        *stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10)
    )


_TEXT = "the characters of scikit-learn's descriptions of its data sets"
_DIGITS = "handwritten digits of 8×8 pixels"
_IMAGE = (1, 8, 8)
TASKS = {
    "GPT": Task(
        gpt,
        _windows_of,
        _example_text,
        math.log(91),
        f"A GPT-2 with tied table and {HEADS} heads on {_TEXT}",
    ),
    "MLP": Task(
        mlp,
        _images((64,)),
        _example_images((64,)),
        math.log(10),
        f"A plain MLP with ReLU on {_DIGITS}",
    ),
    "ViT": Task(
        vit,
        _images(_IMAGE),
        _example_images(_IMAGE),
        math.log(10),
        f"A ViT with {HEADS} heads on {_DIGITS}",
    ),
    "ResNet": Task(
        resnet,
        _images(_IMAGE),
        _example_images(_IMAGE),
        math.log(10),
        f"A ResNet with batch norm on {_DIGITS}",
    ),
}
