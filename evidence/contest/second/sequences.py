"""Sequences: a selective state space, an identity recurrent network, a network that points."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import MambaConfig, MambaForCausalLM

# The last loud letter


def mamba() -> nn.Module:
    """Return a small Mamba of transformers."""
    config: Any = MambaConfig(
        vocab_size=16,
        hidden_size=24,
        state_size=8,
        num_hidden_layers=1,
        time_step_rank=4,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return MambaForCausalLM(config)


def loud(seed: int, count: int, length: int = 13) -> Step:
    """Return letters, a fifth of them loud (above 7), each to be followed by the last loud one."""
    g = seeded(seed)
    letters = torch.randint(8, (count, length), generator=g)
    shouted = torch.rand(count, length, generator=g) < 0.2
    shouted[:, 0] = True
    last = torch.where(shouted, torch.arange(length), 0).cummax(dim=1).values
    labels = letters.gather(1, last)
    given = letters + 8 * shouted
    return {"input_ids": given, "labels": labels.roll(1, 1)}, None


# Sums of marked numbers


class IRNN(nn.Module):
    """A recurrent network of ReLU that tells one number at the end."""

    def __init__(self, hidden: int = 80) -> None:
        super().__init__()
        self.rnn = nn.RNN(2, hidden, nonlinearity="relu", batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a number for each sequence."""
        return self.out(self.rnn(x)[0][:, -1])[:, 0]


def identity_recurrence(model: nn.Module) -> None:
    """Fill recurrent weights with the identity, others with N(0, 0.001), and biases with 0."""
    for name, parameter in model.named_parameters():
        if "weight_hh" in name:
            nn.init.eye_(parameter)
        elif "bias" in name:
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=0.001)


def added(seed: int, count: int, length: int = 20) -> Step:
    """Return sequences of numbers, a third of them marked, their sum to be told."""
    g = seeded(seed)
    number = uniform(g, count, length)
    mark = (torch.rand(count, length, generator=g) < 0.3).float()
    total = (number * mark).sum(1)
    return torch.stack([number, mark], dim=2), lambda output: mse_loss(output, total)


# Convex hulls

POINTS = 8


def hull(points: list[tuple[float, float]]) -> list[int]:
    """Return which points are corners of the convex hull, to the left all along, leftmost first."""
    order = sorted(range(len(points)), key=points.__getitem__)

    def chain(along: list[int]) -> list[int]:
        kept: list[int] = []
        for i in along:
            while len(kept) > 1:
                (ax, ay), (bx, by), (cx, cy) = points[kept[-2]], points[kept[-1]], points[i]
                if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0:
                    break
                kept.pop()
            kept.append(i)
        return kept[:-1]

    return chain(order) + chain(order[::-1])


@cache
def hulls(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points of the unit square, and their hull's corners from 1, ended by 0, then -100."""
    points = uniform(seeded(seed), count, POINTS, 2)
    corners = torch.full((count, POINTS + 1), -100)
    for row, cloud in enumerate(points.tolist()):
        found = [i + 1 for i in hull([(x, y) for x, y in cloud])] + [0]
        corners[row, : len(found)] = torch.tensor(found)
    return points, corners


class PointerNetwork(nn.Module):
    """An LSTM that reads points, and one that points at them; at the place 0 it ends."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.encoder = nn.LSTM(2, hidden, batch_first=True)
        self.decoder = nn.LSTM(2, hidden, batch_first=True)
        self.start = nn.Parameter(torch.rand(2))
        self.end = nn.Parameter(torch.rand(hidden))
        self.w1 = nn.Linear(hidden, hidden, bias=False)
        self.w2 = nn.Linear(hidden, hidden, bias=False)
        self.v = nn.Linear(hidden, 1, bias=False)

    def forward(self, points: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
        """Return the logits of each next corner, (batch, steps, points + 1), the true ones given."""
        read, state = self.encoder(points)
        places = torch.cat([self.end.expand(len(points), 1, -1), read], dim=1)
        known = (corners[:, :-1] - 1).clamp(min=0)[..., None].expand(-1, -1, 2)
        start = self.start.expand(len(points), 1, 2)
        written, _ = self.decoder(torch.cat([start, points.gather(1, known)], dim=1), state)
        mixed = self.w1(places)[:, None] + self.w2(written)[:, :, None]
        return self.v(torch.tanh(mixed)).squeeze(-1)


def small_uniform(model: nn.Module) -> None:
    """Fill everything with U(±0.08)."""
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.08, 0.08)


def pointed(step: int, seed: int = 213, count: int = 4000, batch: int = 48) -> Step:
    """Return points and the corners of their hull, each to be pointed at after those before."""
    points, corners = hulls(seed, count)
    at = rows(step, count, batch)
    return {"points": points[at], "corners": corners[at]}, lambda output: cross_entropy(
        output.flatten(0, 1), corners[at].flatten()
    )


SEQUENCES = {
    "Mamba, the last loud letter": Task(
        mamba,
        lambda step: loud(step, 16),
        lambda: loud(HELD, 256),
        None,
        "Gu & Dao 2023 in transformers: A = -1..N, steps 0.001 to 0.1, output / sqrt(layers)",
    ),
    "IRNN, sums of marked numbers": Task(
        IRNN,
        lambda step: added(step, 128),
        lambda: added(HELD, 256),
        identity_recurrence,
        "Le, Jaitly & Hinton 2015, sections 3 and 4: identity recurrence, others N(0, 0.001)",
    ),
    "pointer network, convex hulls": Task(
        PointerNetwork,
        pointed,
        lambda: pointed(0, HELD + 213, 256, 256),
        small_uniform,
        "Vinyals et al. 2015, section 4.1: U(±0.08)",
    ),
}
