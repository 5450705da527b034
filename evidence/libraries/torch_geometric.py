"""`torch_geometric`: its models, and a stack of three of each convolution, on a random graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch_geometric.nn as library
from evidence.libraries.catalogue import Models
from torch import nn

NODES, EDGES, GRAPHS = 60, 240, 3
INPUTS, WIDTH, CLASSES, RELATIONS, EDGE = 32, 64, 7, 3, 8
MODELS: dict[str, dict[str, Any]] = {
    "GCN": {},
    "GraphSAGE": {},
    "GIN": {},
    "GAT": {},
    "EdgeCNN": {},
    "GAT, second version": {"v2": True, "heads": 4},
    "GCN, norm and jumps": {"jk": "cat", "norm": "batch"},
    "GraphSAGE, layer norm": {"norm": "layer"},
    "GIN, graph norm": {"norm": "graph"},
    "GCN, pair norm": {"norm": "pair"},
    "GCN, ELU": {"act": "elu"},
    "GCN, LSTM over jumps": {"jk": "lstm"},
    "PNA": {
        "aggregators": ["mean", "min", "max", "std"],
        "scalers": ["identity", "amplification", "attenuation"],
        "deg": torch.tensor([0, 3, 10, 20, 15, 8, 4]),
    },
}
Make = Callable[[], nn.Module]


def _mlp(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))


# Convolutions of (x, edge_index), of one width.
PLAIN: dict[str, Make] = {
    **{
        name: lambda name=name: getattr(library, name)(WIDTH, WIDTH)
        for name in (
            "GCNConv SAGEConv GraphConv GATConv GATv2Conv TransformerConv TAGConv ARMAConv SGConv "
            "MFConv FeaStConv GENConv ClusterGCNConv LEConv SuperGATConv EGConv FiLMConv "
            "ResGatedGraphConv GeneralConv HypergraphConv"
        ).split()
    },
    "ChebConv": lambda: library.ChebConv(WIDTH, WIDTH, K=3),
    "GatedGraphConv": lambda: library.GatedGraphConv(WIDTH, 3),
    "APPNP": lambda: library.APPNP(4, 0.1),
    "AGNNConv": lambda: library.AGNNConv(),
    "LGConv": lambda: library.LGConv(),
    "SimpleConv": lambda: library.SimpleConv(),
    "AntiSymmetricConv": lambda: library.AntiSymmetricConv(WIDTH),
    "SSGConv": lambda: library.SSGConv(WIDTH, WIDTH, alpha=0.1),
    "GINConv": lambda: library.GINConv(_mlp(WIDTH), train_eps=True),
    "EdgeConv": lambda: library.EdgeConv(_mlp(2 * WIDTH)),
    "MixHopConv": lambda: library.MixHopConv(WIDTH, WIDTH // 2, powers=[0, 1]),
    "DirGNNConv": lambda: library.DirGNNConv(library.SAGEConv(WIDTH, WIDTH)),
    "GAT, 4 heads": lambda: library.GATConv(WIDTH, WIDTH // 4, heads=4),
    "GraphConv, mean": lambda: library.GraphConv(WIDTH, WIDTH, aggr="mean"),
    "GraphConv, max": lambda: library.GraphConv(WIDTH, WIDTH, aggr="max"),
    "SAGEConv, LSTM": lambda: library.SAGEConv(WIDTH, WIDTH, aggr="lstm"),
    "SAGEConv, softmax": lambda: library.SAGEConv(WIDTH, WIDTH, aggr="softmax"),
}
# Of (x, x₀, edge_index).
FIRST: dict[str, Make] = {
    "FAConv": lambda: library.FAConv(WIDTH),
    "GCN2Conv": lambda: library.GCN2Conv(WIDTH, 0.1),
}
# Of (x, edge_index, kind of edge).
KINDS: dict[str, Make] = {
    "RGCNConv": lambda: library.RGCNConv(WIDTH, WIDTH, RELATIONS),
    "RGCNConv, bases": lambda: library.RGCNConv(WIDTH, WIDTH, RELATIONS, num_bases=2),
    "FastRGCNConv": lambda: library.FastRGCNConv(WIDTH, WIDTH, RELATIONS),
    "RGATConv": lambda: library.RGATConv(WIDTH, WIDTH, RELATIONS),
}
# Of (x, edge_index, what an edge holds).
HELD: dict[str, Make] = {
    "GINEConv": lambda: library.GINEConv(_mlp(WIDTH), edge_dim=EDGE),
    "NNConv": lambda: library.NNConv(WIDTH, WIDTH, nn.Linear(EDGE, WIDTH * WIDTH)),
    "CGConv": lambda: library.CGConv(WIDTH, dim=EDGE),
    "GMMConv": lambda: library.GMMConv(WIDTH, WIDTH, dim=EDGE, kernel_size=4),
    "PDNConv": lambda: library.PDNConv(WIDTH, WIDTH, EDGE, 32),
    "TransformerConv, edges": lambda: library.TransformerConv(
        WIDTH, WIDTH // 4, heads=4, edge_dim=EDGE
    ),
    "GATv2Conv, edges": lambda: library.GATv2Conv(WIDTH, WIDTH // 4, heads=4, edge_dim=EDGE),
    "GENConv, edges": lambda: library.GENConv(WIDTH, WIDTH, edge_dim=EDGE),
}


class Stack(nn.Module):
    """A linear layer, three convolutions with a ReLU behind each, and a linear layer."""

    def __init__(self, make: Make, takes: str = "") -> None:
        super().__init__()
        self.enter = nn.Linear(INPUTS, WIDTH)
        self.convolutions = nn.ModuleList(make() for _ in range(3))
        self.leave = nn.Linear(WIDTH, CLASSES)
        self.takes = takes

    def forward(self, x: torch.Tensor, edges: torch.Tensor, held: Any = None) -> torch.Tensor:
        """The class scores of each node."""
        first = x = self.enter(x).relu()
        for convolution in self.convolutions:
            if self.takes == "first":
                x = convolution(x, first, edges)
            elif self.takes == "held":
                x = convolution(x, edges, held)
            else:
                x = convolution(x, edges)
            x = (x[0] if isinstance(x, tuple) else x).relu()
        return torch.as_tensor(self.leave(x))


class Transformer(nn.Module):
    """Three layers of local convolution beside global attention."""

    def __init__(self, attention: str) -> None:
        super().__init__()
        self.enter = nn.Linear(INPUTS, WIDTH)
        layers = (
            library.GPSConv(WIDTH, library.GINConv(_mlp(WIDTH)), heads=4, attn_type=attention)
            for _ in range(3)
        )
        self.layers = nn.ModuleList(layers)
        self.leave = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor, edges: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
        """The class scores of each node."""
        x = self.enter(x)
        for layer in self.layers:
            x = layer(x, edges, graph)
        return torch.as_tensor(self.leave(x))


def models() -> Models:
    """Models, convolutions, and models with inputs of their own."""
    torch.manual_seed(0)
    edges = torch.randint(0, NODES, (2, EDGES))
    edges = edges[:, edges[1].argsort()]  # some aggregations take neighbours in order
    x, held = torch.randn(NODES, INPUTS), torch.rand(EDGES, EDGE)
    kinds = torch.randint(0, RELATIONS, (EDGES,))
    graph = torch.arange(NODES) * GRAPHS // NODES
    for name, options in MODELS.items():
        kind = getattr(library, name.partition(",")[0])
        yield (
            name,
            lambda kind=kind, options=options: (
                kind(INPUTS, WIDTH, 4, CLASSES, **options),
                (x, edges),
            ),
        )
    for made, takes, batch in (
        (PLAIN, "", (x, edges)),
        (FIRST, "first", (x, edges)),
        (KINDS, "held", (x, edges, kinds)),
        (HELD, "held", (x, edges, held)),
    ):
        for name, make in made.items():
            yield name, lambda make=make, takes=takes, batch=batch: (Stack(make, takes), batch)
    for kind in ("multihead", "performer"):
        yield f"GPS, {kind}", lambda kind=kind: (Transformer(kind), (x, edges, graph))
    yield from _others(x, edges, held, graph)


def _others(x: Any, edges: Any, held: Any, graph: Any) -> Models:
    """Models with arguments of their own."""
    atoms, places = torch.randint(1, 10, (NODES,)), torch.randn(NODES, 3) * 2
    yield (
        "AttentiveFP",
        lambda: (
            library.AttentiveFP(INPUTS, WIDTH, CLASSES, EDGE, num_layers=3, num_timesteps=2),
            (x, edges, held, graph),
        ),
    )
    yield "GraphUNet", lambda: (library.GraphUNet(INPUTS, WIDTH, CLASSES, depth=3), (x, edges))
    yield "SGFormer", lambda: (library.SGFormer(INPUTS, WIDTH, CLASSES), (x, edges, graph))
    yield "Polynormer", lambda: (library.Polynormer(INPUTS, WIDTH, CLASSES), (x, edges, graph))
    yield "LightGCN", lambda: (library.LightGCN(NODES, WIDTH, 3), edges)
    yield "LINKX", lambda: (library.LINKX(NODES, INPUTS, WIDTH, CLASSES, 2), (x, edges))
    yield "MLP", lambda: (library.MLP([INPUTS, WIDTH, WIDTH, CLASSES]), x)
    yield (
        "NeuralFingerprint",
        lambda: (library.NeuralFingerprint(INPUTS, WIDTH, CLASSES, 3), (x, edges, graph)),
    )
    yield (
        "SchNet",
        lambda: (
            library.SchNet(WIDTH, WIDTH, 3, interaction_graph=_near),
            (atoms, places, graph),
        ),
    )


def _near(places: torch.Tensor, graph: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges between the atoms of one graph, and their lengths, as an interaction graph of SchNet."""
    same = (graph[:, None] == graph[None]) & ~torch.eye(len(graph), dtype=torch.bool)
    edges = same.nonzero().T
    return edges, (places[edges[0]] - places[edges[1]]).norm(dim=-1)
