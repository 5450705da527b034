"""Graphs and sets.

Signals that are summed over neighbours are measured, under the plan's own values. Those follow from
names and layouts, so that these twins store the same arrays under the same names.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from jax_twins.twin import Names, Twin, alike, generator, normals, tensors, together
from jax_twins.values import blank, built_equinox

NODES = normals(10, 8)


def adjacency() -> np.ndarray:
    """Return a graph of ten nodes, with loops, normalized by the roots of degrees."""
    edges = generator().random((10, 10)) < 0.3
    links = (edges | edges.T | np.eye(10, dtype=bool)).astype(np.float32)
    degrees = links.sum(1)
    return links / np.sqrt(np.outer(degrees, degrees))


LINKS = adjacency()


class GraphTorch(nn.Module):
    """Convolutions on a graph (Kipf & Welling 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 16), nn.Linear(16, 16)])
        self.head = nn.Linear(16, 3)

    def forward(self, x, links):
        for layer in self.layers:
            x = F.relu(links @ layer(x))
        return self.head(x)


class Graph(eqx.Module):
    layers: list[eqx.nn.Linear]
    head: eqx.nn.Linear

    def __init__(self, key) -> None:
        self.layers = [eqx.nn.Linear(n_in, 16, key=key) for n_in in (8, 16)]
        self.head = eqx.nn.Linear(16, 3, key=key)

    def __call__(self, x, links):
        for layer in self.layers:
            x = jax.nn.relu(links @ jax.vmap(layer)(x))
        return jax.vmap(self.head)(x)


def graph_names() -> Names:
    return together(*(alike(name, name) for name in ("layers.0", "layers.1", "head")))


POINTS = normals(12, 3)
OWNERS = np.repeat(np.arange(4), (2, 3, 3, 4)).astype(np.int32)


class SetsTorch(nn.Module):
    """What each point gives is summed over its set (Zaheer et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.each1, self.each2 = nn.Linear(3, 16), nn.Linear(16, 16)
        self.all1, self.all2 = nn.Linear(16, 16), nn.Linear(16, 2)

    def forward(self, points, owners):
        x = F.relu(self.each2(F.relu(self.each1(points))))
        x = torch.zeros(4, 16).index_add(0, owners, x)
        return self.all2(F.relu(self.all1(x)))


def sets(params, points, owners):
    def layer(name, x):
        return x @ params[name]["weight"].T + params[name]["bias"]

    x = jax.nn.relu(layer("each2", jax.nn.relu(layer("each1", points))))
    x = jax.ops.segment_sum(x, owners, num_segments=4)
    return layer("all2", jax.nn.relu(layer("all1", x)))


SIZES = {"each1": (3, 16), "each2": (16, 16), "all1": (16, 16), "all2": (16, 2)}


def sets_jax() -> tuple[Any, ...]:
    params = {
        name: {"weight": blank(n_out, n_in), "bias": blank(n_out)}
        for name, (n_in, n_out) in SIZES.items()
    }
    return sets, params, POINTS, OWNERS


def sets_names() -> Names:
    return together(*(alike(name, name) for name in SIZES))


TWINS = [
    Twin(
        "graph network",
        "equinox",
        lambda: (GraphTorch(), tensors(NODES, LINKS)),
        lambda: (built_equinox(lambda: Graph(jax.random.key(0))), NODES, LINKS),
        graph_names,
    ),
    Twin(
        "deep sets",
        "function",
        lambda: (SetsTorch(), tensors(POINTS, OWNERS)),
        sets_jax,
        sets_names,
    ),
]
