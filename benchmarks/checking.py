"""`isoinit.check` beside one plain step of training with SGD, on the same model and batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    ResNetConfig,
    ResNetForImageClassification,
    logging,
)

import isoinit
from benchmarks.timing import Row, compare, emit


def models() -> dict[str, tuple[nn.Module, Any, Callable[[Any], torch.Tensor] | None]]:
    torch.manual_seed(0)
    tokens = torch.randint(512, (8, 128))
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=512, n_embd=256, n_layer=4, n_head=4))
    sizes = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"}
    resnet = ResNetForImageClassification(ResNetConfig(num_labels=10, **sizes))
    images = {"pixel_values": torch.randn(8, 3, 96, 96), "labels": torch.randint(10, (8,))}
    zeros = GPT2LMHeadModel(gpt2.config)
    for name, parameter in zeros.named_parameters():
        if name.endswith("c_proj.weight"):  # the ends of branches: some steps more are tried
            nn.init.zeros_(parameter)
    mlp = nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(1024, 1024), nn.ReLU())])
    return {
        "GPT-2, 4 layers of 256, 1024 tokens": (
            gpt2,
            {"input_ids": tokens, "labels": tokens},
            None,
        ),
        "the same, branches that end with zero": (
            zeros,
            {"input_ids": tokens, "labels": tokens},
            None,
        ),
        "ResNet-18, 8 images of 96²": (resnet, images, None),
        "MLP, 8 layers of 1024, 512 examples": (
            mlp,
            torch.randn(512, 1024),
            lambda y: y.square().mean(),
        ),
    }


def step(model: nn.Module, batch: Any, loss: Callable[[Any], torch.Tensor] | None) -> None:
    output = model(**batch) if isinstance(batch, dict) else model(batch)
    (output.loss if loss is None else loss(output)).backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    optimizer.step()
    optimizer.zero_grad()


def rows() -> list[Row]:
    logging.set_verbosity_error()
    found = []
    for name, (model, batch, loss) in models().items():
        found.append(
            compare(
                name,
                lambda model=model, batch=batch, loss=loss: isoinit.check(model, batch, loss=loss),
                "one training step",
                lambda model=model, batch=batch, loss=loss: step(model, batch, loss),
            )
        )
    return found


if __name__ == "__main__":
    emit(rows())
