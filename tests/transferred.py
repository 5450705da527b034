"""Transfers made by hand: the factors of each parameter are given, and not worked out."""

from dataclasses import replace

import torch
from torch import nn

import isoinit
from isoinit._planning.transfer.transfers import Transfer
from isoinit._writing.factors import Factors, Setting

ONE = Factors("hidden weight", 1.0, 1.0, 1.0, 1.0)


def factors(kind="hidden weight", lr=1.0, decay=1.0, eps=1.0, **others):
    return Factors(kind, 1.0, lr, decay, eps, **others)


def by_hand(model, given, optimizer="adamw"):
    """A transfer of a model; each parameter has the factors given for it, or else those of one."""
    plan = isoinit.plan(model)
    for entry in list(plan):
        plan.entries[entry.name] = replace(entry, factors=given.get(entry.name, ONE))
    plan.transfer = Setting(optimizer, "mup", "completep", "MLP, width 4")
    return Transfer(plan)


VECTOR = factors("vector", eps=0.25, decays=False)
MLP = {
    "0.weight": factors("input weight", eps=0.25),
    "0.bias": VECTOR,
    "2.weight": factors(lr=0.25, decay=4.0, eps=0.25),
    "2.bias": VECTOR,
    "4.weight": factors("readout", lr=0.25, decay=4.0),
    "4.bias": factors("vector", decays=False),
}
# What the groups of it are called.
NAMES = ["input weight", "vectors eps ×0.25", "hidden weight", "readout", "vector eps ×1"]


def mlp(width=16, dtype=torch.float32):
    torch.manual_seed(0)
    layers = [nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 3)).to(dtype)


def mlp_transfer(optimizer="adamw"):
    return by_hand(mlp(), MLP, optimizer)


def batch(dtype=torch.float32, count=12):
    random = torch.Generator().manual_seed(1)
    x = torch.randn(count, 8, generator=random, dtype=dtype)
    return x, torch.randint(3, (count,), generator=random)


def train(model, optimizer, steps=5, clip=None, schedule=None, dtype=torch.float32):
    """The losses of some steps on one batch."""
    x, y = batch(dtype)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            clip(model)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        losses.append(loss.item())
    return losses
