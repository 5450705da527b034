# tune.py
"""Finds the learning rate on a GPT of width 32 and depth 2, in about a second for each rate."""

from pathlib import Path

import torch
from gpt import GPT
from torch.optim.lr_scheduler import LambdaLR

import isoinit

TEXT = torch.tensor(list(Path(torch.__file__).read_bytes()))  # any text will do


def batches(steps, size=8, length=64):
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        first = torch.randint(len(TEXT) - length, (size,), generator=random)
        yield torch.stack([TEXT[i : i + length] for i in first.tolist()])


def train(model, t, lr, steps=40):
    optimizer = torch.optim.AdamW(t.groups(model, lr=lr, weight_decay=0.1))
    schedule = LambdaLR(optimizer, lambda step: min(1, (step + 1) / 5) * (1 - step / steps))
    t.verify(optimizer)
    losses = []
    for ids in batches(steps):
        loss = model(ids, labels=ids)["loss"]
        loss.backward()
        t.clip_grad_norm_(model, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    return sum(losses[-5:]) / 5


def tuned(exponents=range(-9, -3)):
    base = GPT(width=32, depth=2)
    t = isoinit.transfer(base, base, {"ids": next(batches(1))})  # all factors are 1
    found = {}
    for exponent in exponents:
        t.plan.apply(base, seed=0)
        found[2.0**exponent] = train(base, t, 2.0**exponent)
        print(f"lr 2^{exponent} loss {found[2.0**exponent]:.3f}")
    return min(found, key=found.get)


if __name__ == "__main__":
    print("best", tuned())
