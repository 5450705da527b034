"""Networks on graphs: communities within one, and kinds of many."""

from __future__ import annotations

from functools import cache

import torch
from evidence.contest.development.batches import Rows, drawn, split, training_rows
from evidence.contest.development.recipes import xavier
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy

NODES, COMMUNITIES, WORDS = 400, 6, 60
GRAPHS, SIZE, KINDS = 1200, 20, 4


class GCN(nn.Module):
    """Graph convolutions: a node is mixed with its neighbours by a normalized adjacency."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(WORDS, width), nn.Linear(width, COMMUNITIES)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        """Return the logits of each node."""
        x = torch.relu(adjacency @ self.first(x))
        return adjacency @ self.last(x)


@cache
def communities() -> tuple[torch.Tensor, torch.Tensor, Rows, Rows]:
    """Return words and adjacency of a graph, and nodes with classes to train on and held out.

    A node has more edges within its community, and more of some words; words are shares of a node's.
    """
    random = drawn(1)
    y = torch.randint(COMMUNITIES, (NODES,), generator=random)
    near = torch.where(y[:, None] == y, 0.06, 0.008)
    upper = (torch.rand(NODES, NODES, generator=random) < near).float().triu(1)
    linked = upper + upper.T + torch.eye(NODES)
    scale = linked.sum(1).rsqrt()
    topics = torch.randn(COMMUNITIES, WORDS, generator=random)
    said = (torch.rand(NODES, WORDS, generator=random) < torch.sigmoid(topics[y] - 2)).float()
    x = said / said.sum(1, keepdim=True).clamp(min=1)
    train, held = split(torch.arange(NODES), y, 200)
    return x, scale[:, None] * linked * scale, train, held


def _found(rows: Rows) -> Step:
    x, adjacency, _, _ = communities()
    nodes, y = rows
    return (x, adjacency), lambda output: cross_entropy(output[nodes], y)


def found(step: int) -> Step:
    """Return the graph, and the cross entropy of some nodes' communities."""
    return _found(training_rows(communities()[2], step, 64))


class GIN(nn.Module):
    """A graph isomorphism network: neighbours are summed, and so are a graph's nodes."""

    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(depth))
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width if i else 1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
            )
            for i in range(depth)
        )
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, KINDS)
        )

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        """Return the logits of each graph."""
        for eps, layer in zip(self.eps, self.layers, strict=True):
            x = layer((1 + eps) * x + adjacency @ x)
        return self.head(x.sum(dim=1))


def graph(kind: int, random: torch.Generator) -> torch.Tensor:
    """Return the adjacency, of 0 and 1, of a graph with some forty edges.

    Kinds: any edge as likely as another; a ring of four neighbours; two halves; a few hubs.
    """
    likely = torch.full((SIZE, SIZE), 0.21)
    place = torch.arange(SIZE)
    if kind == 1:
        gap = (place[:, None] - place).abs()
        likely = torch.where(torch.minimum(gap, SIZE - gap) <= 2, 0.9, 0.02)
    elif kind == 2:
        likely = torch.where(place[:, None] // 10 == place // 10, 0.42, 0.02)
    elif kind == 3:
        likely = torch.where((place[:, None] < 3) | (place < 3), 0.6, 0.06)
    upper = (torch.rand(SIZE, SIZE, generator=random) < likely).float().triu(1)
    return upper + upper.T


@cache
def graphs() -> tuple[Rows, Rows]:
    """Return graphs and their kinds to train on and held out."""
    random = drawn(2)
    kinds = torch.arange(GRAPHS) % KINDS
    return split(torch.stack([graph(kind, random) for kind in kinds.tolist()]), kinds)


def _sorted(rows: Rows) -> Step:
    adjacency, kinds = rows
    ones = torch.ones(len(adjacency), SIZE, 1)
    return (ones, adjacency), lambda output: cross_entropy(output, kinds)


def kinds_told(step: int) -> Step:
    """Return graphs whose nodes are alike, and the cross entropy of their kinds."""
    return _sorted(training_rows(graphs()[0], step, 32))


TASKS = {
    "graph convolutions, communities": Task(
        GCN,
        found,
        lambda: _found(communities()[3]),
        xavier,
        "Kipf & Welling 2017, section 5.2; its code: Glorot & Bengio 2010 uniform, biases of zero",
    ),
    "sums over neighbours, kinds of graphs": Task(
        GIN,
        kinds_told,
        lambda: _sorted(graphs()[1]),
        None,
        "Xu et al. 2019, its code and PyTorch Geometric's GIN: torch's defaults",
    ),
}
