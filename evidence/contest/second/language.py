"""Stories, formulas and hairpins: memory, a tree, gates over places."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from random import Random

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, gelu

# Stories

ACTORS, VERBS, PLACES, SENTENCES = 4, 3, 6, 8


@cache
def stories(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return stories (count, sentences, 3) of who went where, who is asked for, and where that one is.

    Words are numbered from 1: actors, verbs, places.
    """
    g = seeded(seed)
    actor = torch.randint(ACTORS, (count, SENTENCES), generator=g)
    verb = torch.randint(VERBS, (count, SENTENCES), generator=g)
    place = torch.randint(PLACES, (count, SENTENCES), generator=g)
    asked = actor.gather(1, torch.randint(SENTENCES, (count, 1), generator=g))
    last = torch.where(actor == asked, torch.arange(SENTENCES), 0).max(dim=1, keepdim=True).values
    words = torch.stack([actor, ACTORS + verb, ACTORS + VERBS + place], dim=2) + 1
    return words, asked + 1, place.gather(1, last)[:, 0]


class MemN2N(nn.Module):
    """Sentences as a memory that is read three times; what one hop reads by, the next looks up."""

    def __init__(self, dim: int = 20, hops: int = 3) -> None:
        super().__init__()
        vocabulary = 1 + ACTORS + VERBS + PLACES
        self.words = nn.ModuleList(nn.Embedding(vocabulary, dim) for _ in range(hops + 1))
        self.times = nn.ParameterList(torch.randn(SENTENCES, dim) for _ in range(hops + 1))

    def forward(self, story: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """Return the logits of places."""
        u = self.words[0](asked).sum(dim=1)
        sentences = [
            embed(story).sum(dim=2) + time
            for embed, time in zip(self.words, self.times, strict=True)
        ]
        for memory, output in pairwise(sentences):
            p = torch.softmax((memory * u[:, None]).sum(-1), dim=1)
            u = u + (output * p[..., None]).sum(1)
        return u @ self.words[-1].get_parameter("weight")[-PLACES:].T


def tenth(model: nn.Module) -> None:
    """Fill everything with N(0, 0.1)."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)


def asked_for(step: int, seed: int = 221, count: int = 8000, batch: int = 160) -> Step:
    """Return stories and questions, the place to be told."""
    story, who, place = stories(seed, count)
    at = rows(step, count, batch)
    given = {"story": story[at], "asked": who[at]}
    return given, lambda output: cross_entropy(output, place[at])


# Formulas

DEPTH = 4


@cache
def formulas(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return formulas of 16 digits as full trees, level by level from the leaves, and their values.

    Leaves are digits 0 to 9, nodes 10 (smaller), 11 (larger) and 12 (last digit of the sum). Both
    tensors have shape (count, 31); a leaf's value is itself.
    """
    random = Random(seed)
    tokens, values = [], []
    for _ in range(count):
        level = [random.randrange(10) for _ in range(2**DEPTH)]
        symbols, results = list(level), list(level)
        while len(level) > 1:
            ops = [random.randrange(3) for _ in range(len(level) // 2)]
            pairs = list(zip(ops, level[::2], level[1::2], strict=True))
            level = [(min(a, b), max(a, b), (a + b) % 10)[op] for op, a, b in pairs]
            symbols += [10 + op for op in ops]
            results += level
        tokens.append(symbols)
        values.append(results)
    return torch.tensor(tokens), torch.tensor(values)


class TreeLSTM(nn.Module):
    """A binary tree LSTM with a forget gate for each child, level by level."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(13, dim)
        self.w = nn.Linear(dim, 5 * dim)
        self.left = nn.Linear(dim, 5 * dim, bias=False)
        self.right = nn.Linear(dim, 5 * dim, bias=False)
        self.out = nn.Linear(dim, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of each node's value, of shape (batch, nodes, 10)."""
        given = self.w(self.embed(tokens)).split([2**k for k in range(DEPTH, -1, -1)], dim=1)
        i, _, _, o, u = given[0].chunk(5, dim=-1)
        c = torch.sigmoid(i) * torch.tanh(u)
        h = torch.sigmoid(o) * torch.tanh(c)
        states = [h]
        for x in given[1:]:
            gates = x + self.left(h[:, ::2]) + self.right(h[:, 1::2])
            i, f1, f2, o, u = gates.chunk(5, dim=-1)
            c = torch.sigmoid(f1) * c[:, ::2] + torch.sigmoid(f2) * c[:, 1::2]
            c = c + torch.sigmoid(i) * torch.tanh(u)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        return self.out(torch.cat(states, dim=1))


def valued(step: int, seed: int = 222, count: int = 2000, batch: int = 24) -> Step:
    """Return formulas, the value of each inner node to be told."""
    tokens, values = formulas(seed, count)
    at = rows(step, count, batch)
    inner = values[at, 2**DEPTH :].flatten()
    return tokens[at], lambda output: cross_entropy(output[:, 2**DEPTH :].flatten(0, 1), inner)


# Hairpins

BASES = 24


def hairpins(seed: int, count: int) -> Step:
    """Return RNA that folds on itself, some bases hidden (4), never both of a pair, to be told."""
    g = seeded(seed)
    half = BASES // 2
    left = torch.randint(4, (count, half), generator=g)
    right = 3 - left.flip(1)  # A-U, C-G
    loose = torch.arange(half) >= torch.randint(half - 1, half + 1, (count, 1), generator=g)
    loop = torch.randint(4, (count, half), generator=g)
    rna = torch.cat([left, torch.where(loose.flip(1), loop, right)], dim=1)
    hidden = torch.rand(count, BASES, generator=g) < 0.3
    hidden[:, half:] &= ~hidden[:, :half].flip(1)
    target = rna.masked_fill(~hidden, -100)
    return rna.masked_fill(hidden, 4), lambda output: cross_entropy(
        output.flatten(0, 1), target.flatten()
    )


class SpatialGate(nn.Module):
    """One half of the channels, mixed over places, times the other."""

    def __init__(self, dim: int, length: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mix = nn.Conv1d(length, length, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return half the channels of x (batch, length, 2 dim)."""
        u, v = x.chunk(2, dim=-1)
        return u * self.mix(self.norm(v))


class GMLPBlock(nn.Module):
    """A wide layer with GELU and a spatial gate, around a residual."""

    def __init__(self, dim: int, wide: int, length: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.proj_in = nn.Linear(dim, wide)
        self.gate = SpatialGate(wide // 2, length)
        self.proj_out = nn.Linear(wide // 2, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return places of the same shape."""
        return x + self.proj_out(self.gate(gelu(self.proj_in(self.norm(x)))))


class GMLP(nn.Module):
    """A masked language model of gated perceptrons, without positions."""

    def __init__(self, dim: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, dim)
        self.blocks = nn.Sequential(*(GMLPBlock(dim, 4 * dim, BASES) for _ in range(blocks)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of bases, of shape (batch, length, 4)."""
        return self.head(self.norm(self.blocks(self.embed(ids))))


def open_gates(model: nn.Module) -> None:
    """Fill gates so that they begin as one: weights U(±0.001 / length), biases 1."""
    for module in model.modules():
        if isinstance(module, SpatialGate):
            nn.init.uniform_(module.mix.weight, -1e-3 / BASES, 1e-3 / BASES)
            nn.init.ones_(module.mix.get_parameter("bias"))


LANGUAGE = {
    "end-to-end memory, stories": Task(
        MemN2N,
        asked_for,
        lambda: asked_for(0, HELD + 221, 256, 256),
        tenth,
        "Sukhbaatar et al. 2015, section 4.2: N(0, 0.1)",
    ),
    "tree LSTM, formulas": Task(
        TreeLSTM,
        valued,
        lambda: valued(0, HELD + 222, 256, 256),
        None,
        "Tai et al. 2015; dasguptar/treelstm.pytorch: torch's defaults",
    ),
    "gMLP, RNA hairpins": Task(
        GMLP,
        lambda step: hairpins(step, 20),
        lambda: hairpins(HELD, 256),
        open_gates,
        "Liu et al. 2021, section 2.1, lucidrains/g-mlp-pytorch: gate weights near 0, biases 1",
    ),
}
