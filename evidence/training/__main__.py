"""Trains small models from their library's own recipe and from a plan, and writes docs/training.md.

    python -m evidence.training [MODEL ...] [--seeds 5] [--steps 300] [--no-docs]

Both start from the same model, data order, optimizer and number of steps, and differ in the initial
parameters alone. The loss is the mean over the last tenth of the steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from evidence.page import DOCS, write
from sklearn.datasets import load_digits
from torch import nn

import isoinit

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
    logging,
)

ROOT = Path(__file__).parents[2]
PAGE = DOCS / "training.md"
LENGTH, BATCH = 64, 16
SIZE = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
Batches = Iterator[dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Case:
    """A model, its data and the optimizer's step size."""

    build: Callable[[], nn.Module]
    data: Callable[[torch.Generator], Batches]
    rate: float


def characters(generator: torch.Generator) -> Batches:
    """Pieces of this repository's documents, character by character."""
    text = "".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))
    )
    known = {c: i for i, c in enumerate(sorted({c for c in text if ord(c) < 127}))}
    codes = torch.tensor([known.get(c, len(known)) for c in text])
    while True:
        starts = torch.randint(len(codes) - LENGTH, (BATCH,), generator=generator)
        ids = torch.stack([codes[start : start + LENGTH] for start in starts.tolist()])
        yield {"input_ids": ids, "labels": ids}


def digits(generator: torch.Generator) -> Batches:
    """Handwritten digits, 8×8, standardized."""
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None]
    x, y = (x - x.mean()) / x.std(), torch.tensor(data.target)
    while True:
        rows = torch.randint(len(x), (4 * BATCH,), generator=generator)
        yield {"pixel_values": x[rows], "labels": y[rows]}


ENDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
CASES = {
    "GPT-2": Case(
        lambda: GPT2LMHeadModel(
            GPT2Config(vocab_size=100, n_positions=LENGTH, n_embd=128, n_layer=4, n_head=4, **ENDS)
        ),
        characters,
        1e-3,
    ),
    "Llama": Case(
        lambda: LlamaForCausalLM(LlamaConfig(vocab_size=100, intermediate_size=384, **SIZE)),
        characters,
        1e-3,
    ),
    "ViT": Case(
        lambda: ViTForImageClassification(
            ViTConfig(
                image_size=8,
                patch_size=2,
                num_channels=1,
                num_labels=10,
                intermediate_size=512,
                **SIZE,
            )
        ),
        digits,
        1e-3,
    ),
    "ResNet": Case(
        lambda: ResNetForImageClassification(
            ResNetConfig(
                num_channels=1,
                embedding_size=16,
                hidden_sizes=[32, 64, 128],
                depths=[3, 3, 3],
                layer_type="bottleneck",
                num_labels=10,
            )
        ),
        digits,
        1e-3,
    ),
}


def train(case: Case, seed: int, steps: int, *, planned: bool) -> float:
    """The loss at the end of one training."""
    torch.manual_seed(seed)
    model = case.build()
    batches = case.data(torch.Generator().manual_seed(seed))
    if planned:
        isoinit.plan(model, next(case.data(torch.Generator()))).apply(model, seed)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=case.rate)
    losses = []
    for _ in range(steps):
        loss = model(**next(batches)).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return statistics.fmean(losses[-max(steps // 10, 1) :])


HEAD = """# Training from a plan and from the library's own recipe

Written by `python -m evidence.training`. Does a model of `transformers` train better from a plan
than from the library's own initialization? Each small model is trained from both, with the same
data in the same order: {steps} steps of AdamW with a learning rate of 1e-3 and gradients clipped
at norm 1. There are {seeds} seeds, which change the initial parameters and the order of the data.

GPT-2 and Llama (4 layers, 128 wide) learn the characters of this repository's documents. ViT (4
layers, 128 wide) and ResNet (9 bottleneck blocks) learn handwritten digits of 8×8 pixels. The
table has the training loss, averaged over the last tenth of the steps: its mean over seeds, and
in brackets its range. Lower is better.

| model | the library's own recipe | isoinit's plan | seeds for which the plan is not worse |
|---|---|---|---|
"""


def main() -> None:
    """Train, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(CASES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--no-docs", action="store_true")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    rows = []
    for name in arguments.models:
        own, ours = (
            [train(CASES[name], s, arguments.steps, planned=p) for s in range(arguments.seeds)]
            for p in (False, True)
        )
        won = sum(b <= a for a, b in zip(own, ours, strict=True))
        rows.append(f"| {name} | {_words(own)} | {_words(ours)} | {won} of {arguments.seeds} |")
        print(rows[-1], flush=True)
    if not arguments.no_docs and len(rows) == len(CASES):
        head = HEAD.format(steps=arguments.steps, seeds=arguments.seeds)
        write(PAGE, head + "\n".join(rows) + "\n")


def _words(losses: list[float]) -> str:
    return f"{statistics.fmean(losses):.4f} ({min(losses):.4f} – {max(losses):.4f})"


if __name__ == "__main__":
    main()
