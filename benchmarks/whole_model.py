"""Planning and filling a whole model, against a loop of `kaiming_normal_` and `zeros_`."""

from __future__ import annotations

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import isoinit
from benchmarks.timing import Row, compare, emit, timed_first

LOOP = "kaiming_normal_, zeros_"


def loop(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter)
            else:
                nn.init.zeros_(parameter)


def rows() -> list[Row]:
    layers = [layer for _ in range(6) for layer in (nn.Linear(4096, 4096), nn.ReLU())]
    mlp, x = nn.Sequential(*layers), torch.zeros(1, 4096)
    config = GPT2Config(n_layer=6, n_head=8, n_embd=512, vocab_size=8192, n_positions=256)
    gpt2, ids = GPT2LMHeadModel(config), {"input_ids": torch.zeros(1, 16, dtype=torch.long)}

    first, first_loop = (
        timed_first(lambda: isoinit.init(mlp, x, seed=0)),
        timed_first(lambda: loop(mlp)),
    )
    found = [Row(f"{size(mlp)} MLP, first call in a process", LOOP, first, first_loop)]
    for name, model, batch in ((f"{size(mlp)} MLP", mlp, x), (f"{size(gpt2)} GPT-2", gpt2, ids)):
        plan = isoinit.plan(model, batch)
        for what, ours in (
            ("plan and apply", lambda m=model, b=batch: isoinit.init(m, b, seed=0)),
            ("apply", lambda m=model, p=plan: p.apply(m, seed=0)),
        ):
            found.append(compare(f"{name}, {what}", ours, LOOP, lambda m=model: loop(m), repeats=5))
    return found


def size(model: nn.Module) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f} M"


if __name__ == "__main__":
    emit(rows())
