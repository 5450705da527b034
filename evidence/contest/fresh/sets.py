"""Graphs, particles, point clouds and sets."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, dropout, elu, leaky_relu, mse_loss, one_hot, relu

# Attention over a graph of citations


@cache
def papers() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return 360 papers: shares of 60 words, links both ways with loops, topics, and an order."""
    g = seeded(41)
    topic = torch.randint(4, (360,), generator=g)
    words = uniform(g, 4, 60) ** 3
    bags = (uniform(g, 360, 60) < 0.03 + 0.2 * words[topic]).float()
    bags = bags / bags.sum(1, keepdim=True).clamp(min=1)
    chance = torch.where(topic[:, None] == topic, 0.03, 0.004)
    links = torch.triu(uniform(g, 360, 360) < chance, diagonal=1)
    links = links | links.T | torch.eye(360, dtype=torch.bool)
    return bags, links.nonzero().T.contiguous(), topic, torch.randperm(360, generator=g)


class GATLayer(nn.Module):
    """Attention of each node over its neighbours, with several heads."""

    def __init__(self, n_in: int, n_out: int, heads: int) -> None:
        super().__init__()
        self.heads, self.n_out = heads, n_out
        self.lin = nn.Linear(n_in, heads * n_out, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, n_out))
        self.att_dst = nn.Parameter(torch.empty(1, heads, n_out))
        self.bias = nn.Parameter(torch.zeros(heads * n_out))
        nn.init.xavier_uniform_(self.lin.weight)
        nn.init.xavier_uniform_(self.att_src)
        nn.init.xavier_uniform_(self.att_dst)

    def forward(self, x: torch.Tensor, links: torch.Tensor) -> torch.Tensor:
        """Return the nodes' new features, of shape (nodes, heads * n_out)."""
        src, dst = links
        h = self.lin(x).view(-1, self.heads, self.n_out)
        scores = (h * self.att_src).sum(2)[src] + (h * self.att_dst).sum(2)[dst]
        weights = torch.exp(leaky_relu(scores, 0.2))
        total = torch.zeros(len(x), self.heads).index_add(0, dst, weights)
        weights = dropout(weights / total[dst], 0.4, self.training)
        out = torch.zeros_like(h).index_add(0, dst, weights[:, :, None] * h[src])
        return out.flatten(1) + self.bias


class GAT(nn.Module):
    """Two layers of graph attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = GATLayer(60, 8, 6)
        self.conv2 = GATLayer(48, 4, 1)

    def forward(self, x: torch.Tensor, links: torch.Tensor) -> torch.Tensor:
        """Return the logits of each node's topic."""
        x = elu(self.conv1(dropout(x, 0.4, self.training), links))
        return self.conv2(dropout(x, 0.4, self.training), links)


def cited(step: int, held: bool = False) -> Step:
    """Return the whole graph, a part of its papers to be sorted by topic."""
    bags, links, topic, order = papers()
    nodes = order[180:] if held else order[:180][rows(step, 180, 90)]
    return {"x": bags, "links": links}, lambda output: cross_entropy(output[nodes], topic[nodes])


# A deep network over a map


@cache
def districts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return 160 places of a map: blurred hints, normed links to those near, districts, an order."""
    g = seeded(45)
    place, centre = uniform(g, 160, 2), uniform(g, 5, 2)
    district = torch.cdist(place, centre).argmin(1)
    hints = one_hot(district, 5) + 1.5 * torch.randn(160, 5, generator=g)
    hints = torch.cat([hints, torch.randn(160, 7, generator=g)], dim=1)
    gap = torch.cdist(place, place)
    links = ((gap <= gap.sort(dim=1).values[:, 6:7]) & (district[:, None] == district)).float()
    links = torch.maximum(links, (gap <= gap.sort(dim=1).values[:, 2:3]).float())
    links = torch.maximum(links, links.T)
    size = links.sum(1).rsqrt()
    return hints, size[:, None] * links * size, district, torch.randperm(160, generator=g)


class GCNII(nn.Module):
    """Graph convolutions that keep a share of the first features and of the identity."""

    def __init__(self, width: int = 20, layers: int = 28) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(12, width), nn.Linear(width, 5)
        self.weights = nn.ParameterList(torch.empty(width, width) for _ in range(layers))
        for weight in self.weights:
            nn.init.uniform_(weight, -(width**-0.5), width**-0.5)

    def forward(self, x: torch.Tensor, links: torch.Tensor) -> torch.Tensor:
        """Return the logits of each place's district."""
        x = first = relu(self.enter(dropout(x, 0.2, self.training)))
        for layer, weight in enumerate(self.weights):
            beta = math.log(0.5 / (layer + 1) + 1)
            x = 0.9 * (links @ dropout(x, 0.2, self.training)) + 0.1 * first
            x = relu(beta * (x @ weight) + (1 - beta) * x)
        return self.leave(dropout(x, 0.2, self.training))


def mapped(step: int, held: bool = False) -> Step:
    """Return the whole map, a part of its places to be put in their district."""
    hints, links, district, order = districts()
    nodes = order[100:] if held else order[:100][rows(step, 100, 50)]
    inputs = {"x": hints, "links": links}
    return inputs, lambda output: cross_entropy(output[nodes], district[nodes])


# Charged particles


@cache
def particles(seed: int, count: int) -> tuple[torch.Tensor, ...]:
    """Return places, velocities and charges of five particles, and their places some time later."""
    g = seeded(seed)
    start, speed = torch.randn(2, count, 5, 3, generator=g)
    charge = torch.randint(2, (count, 5, 1), generator=g) * 2.0 - 1
    x, v = start, 0.5 * speed
    for _ in range(60):
        gap = x[:, :, None] - x[:, None]
        far = (gap**2).sum(3, keepdim=True) + 0.1
        pull = charge[:, :, None] * charge[:, None] * gap / far**1.5
        v = v + 0.02 * pull.sum(2)
        x = x + 0.02 * v
    return start, 0.5 * speed, charge, x


class EGCL(nn.Module):
    """A layer of messages that turns as its particles are turned."""

    def __init__(self, size: int) -> None:
        super().__init__()
        act = nn.SiLU()
        self.edge_mlp = nn.Sequential(
            nn.Linear(2 * size + 2, size), act, nn.Linear(size, size), act
        )
        self.node_mlp = nn.Sequential(nn.Linear(2 * size, size), act, nn.Linear(size, size))
        last = nn.Linear(size, 1, bias=False)
        nn.init.xavier_uniform_(last.weight, gain=0.001)
        self.coord_mlp = nn.Sequential(nn.Linear(size, size), act, last)
        self.coord_mlp_vel = nn.Sequential(nn.Linear(size, size), act, nn.Linear(size, 1))

    def forward(
        self, h: torch.Tensor, x: torch.Tensor, v: torch.Tensor, edge: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the particles' new features and places."""
        count = h.shape[1]
        gap = x[:, :, None] - x[:, None]
        far = (gap**2).sum(3, keepdim=True)
        pairs = torch.cat(
            [
                h[:, :, None].expand(-1, -1, count, -1),
                h[:, None].expand(-1, count, -1, -1),
                far,
                edge,
            ],
            dim=3,
        )
        apart = 1 - torch.eye(count)[:, :, None]
        message = self.edge_mlp(pairs) * apart
        x = x + (gap * self.coord_mlp(message)).sum(2) / (count - 1)
        x = x + self.coord_mlp_vel(h) * v
        return h + self.node_mlp(torch.cat([h, message.sum(2)], dim=2)), x


class EGNN(nn.Module):
    """Equivariant layers that tell where particles will be."""

    def __init__(self, size: int = 24, layers: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Linear(1, size)
        self.layers = nn.ModuleList(EGCL(size) for _ in range(layers))

    def forward(self, x: torch.Tensor, v: torch.Tensor, charge: torch.Tensor) -> torch.Tensor:
        """Return the places, of shape (batch, particles, 3)."""
        h = self.embedding((v**2).sum(2, keepdim=True).sqrt())
        edge = (charge @ charge.transpose(1, 2))[:, :, :, None]
        for layer in self.layers:
            h, x = layer(h, x, v, edge)
        return x


def moved(step: int, seed: int = 42, count: int = 2000, batch: int = 16) -> Step:
    """Return particles, their places to be foretold."""
    x, v, charge, later = particles(seed, count)
    at = rows(step, count, batch)
    inputs = {"x": x[at], "v": v[at], "charge": charge[at]}
    return inputs, lambda output: mse_loss(output, later[at])


# Solids seen as points


@cache
def solids(seed: int, count: int, points: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points on turned surfaces in the unit ball, (count, 3, points), and the solid."""
    g = seeded(seed)
    kind = torch.randint(5, (count,), generator=g)
    u, w = uniform(g, 2, count, points, low=-1)
    turn, sphere = math.pi * u, torch.sqrt(1 - w**2)
    box = uniform(g, count, points, 3, low=-1)
    side = torch.randint(3, (count, points, 1), generator=g)
    box = box.scatter(2, side, box.gather(2, side).sign())
    c, s, around = torch.cos(turn), torch.sin(turn), math.pi * w
    tube = 1 + 0.4 * torch.cos(around)
    ways = [
        torch.stack([sphere * c, sphere * s, w], dim=2),
        box,
        torch.stack([c, s, 1.3 * w], dim=2),
        torch.stack([(1 - w) / 2 * c, (1 - w) / 2 * s, w], dim=2),
        torch.stack([tube * c, tube * s, 0.4 * torch.sin(around)], dim=2),
    ]
    x = torch.stack(ways)[kind, torch.arange(count)]
    q, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=g))
    x = x @ q + 0.02 * torch.randn(count, points, 3, generator=g)
    x = x - x.mean(1, keepdim=True)
    return (x / x.norm(dim=2).amax(1)[:, None, None]).transpose(1, 2).contiguous(), kind


def shared(*sizes: int) -> nn.Sequential:
    """Return one network for each point, with batch norm."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Conv1d(n_in, n_out, 1), nn.BatchNorm1d(n_out), nn.ReLU()]
    return nn.Sequential(*layers)


class PointNet(nn.Module):
    """Points turned by a small network, each through a network, their largest features, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = shared(3, 16, 48)
        self.turn_fc = nn.Sequential(nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 9))
        self.features = shared(3, 24, 32, 96)
        self.head = nn.Sequential(
            nn.Linear(96, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.3), nn.Linear(48, 5)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of the solids."""
        turn = self.turn_fc(self.turn(x).amax(2)).view(-1, 3, 3) + torch.eye(3)
        x = torch.bmm(x.transpose(2, 1), turn).transpose(2, 1)
        return self.head(self.features(x).amax(2))


def qi(model: nn.Module) -> None:
    """Fill as PointNet's code: Xavier, zero biases, and a turn that begins as the identity."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(model.get_parameter(f"{name}.bias"))
    nn.init.zeros_(model.get_parameter("turn_fc.2.weight"))


def scanned(step: int, seed: int = 43, count: int = 1000, batch: int = 16) -> Step:
    """Return clouds of points, the solid to be told."""
    x, y = solids(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: cross_entropy(output, y[at])


# Sets in clusters


@cache
def clusters(seed: int, count: int) -> torch.Tensor:
    """Return sets of 50 points around three centres, of shape (count, 50, 2)."""
    g = seeded(seed)
    centres = uniform(g, count, 3, 2, low=-4, high=4)
    which = torch.randint(3, (count, 50, 1), generator=g).expand(-1, -1, 2)
    return centres.gather(1, which) + 0.3 * torch.randn(count, 50, 2, generator=g)


class MAB(nn.Module):
    """Attention of one set over another, a residual network, and layer norms."""

    def __init__(self, size: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.fc_q, self.fc_k, self.fc_v = (nn.Linear(size, size) for _ in range(3))
        self.ln0, self.ln1 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.fc_o = nn.Linear(size, size)

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Return the first set after it saw the second."""
        q, v, k = self.fc_q(q), self.fc_v(k), self.fc_k(k)
        qs, ks, vs = (torch.cat(z.chunk(self.heads, dim=2)) for z in (q, k, v))
        a = torch.softmax(qs @ ks.transpose(1, 2) / math.sqrt(q.shape[2]), dim=2)
        o = self.ln0(torch.cat((qs + a @ vs).chunk(self.heads), dim=2))
        return self.ln1(o + torch.relu(self.fc_o(o)))


class SetTransformer(nn.Module):
    """Induced attention, pooling to three seeds, and the parameters of a mixture."""

    def __init__(self, size: int = 32, points: int = 8) -> None:
        super().__init__()
        self.enter = nn.Linear(2, size)
        self.induced = nn.Parameter(torch.empty(1, points, size))
        self.seeds = nn.Parameter(torch.empty(1, 3, size))
        nn.init.xavier_uniform_(self.induced)
        nn.init.xavier_uniform_(self.seeds)
        self.inward, self.outward, self.pool, self.among = (MAB(size) for _ in range(4))
        self.leave = nn.Linear(size, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a weight's logit, a centre and scales for each of three parts: (batch, 3, 5)."""
        x = self.enter(x)
        x = self.outward(x, self.inward(self.induced.expand(len(x), -1, -1), x))
        x = self.pool(self.seeds.expand(len(x), -1, -1), x)
        return self.leave(self.among(x, x))


def clustered(step: int, seed: int = 44, count: int = 2000, batch: int = 12) -> Step:
    """Return sets, each to be described as a mixture of three normals: minus the log-likelihood."""
    x = clusters(seed, count)[rows(step, count, batch)]

    def loss(output: torch.Tensor) -> torch.Tensor:
        weight, centre = torch.log_softmax(output[:, :, 0], dim=1), output[:, :, 1:3]
        scale = nn.functional.softplus(output[:, :, 3:]) + 0.01
        z = (x[:, :, None] - centre[:, None]) / scale[:, None]
        each = -0.5 * (z**2).sum(3) - torch.log(scale).sum(2)[:, None] - math.log(2 * math.pi)
        return -torch.logsumexp(weight[:, None] + each, dim=2).mean()

    return x, loss


SETS = {
    "graph attention, papers": Task(
        GAT,
        cited,
        lambda: cited(0, held=True),
        None,
        "Velickovic et al. 2018, PyTorch Geometric's GATConv: Glorot, as the constructor leaves it",
    ),
    "GCNII, districts of a map": Task(
        GCNII,
        mapped,
        lambda: mapped(0, held=True),
        None,
        "Chen et al. 2020, chennnM/GCNII: U(±1 / sqrt(width)), torch's defaults at both ends",
    ),
    "EGNN, charged particles": Task(
        EGNN,
        moved,
        lambda: moved(0, HELD + 42, 256, 256),
        None,
        "Satorras et al. 2021, its code: torch's defaults, last coordinate weight Xavier x 0.001",
    ),
    "PointNet, solids": Task(
        PointNet,
        scanned,
        lambda: scanned(0, HELD + 43, 256, 256),
        qi,
        "Qi et al. 2017, charlesq34/pointnet: Xavier, zero biases, identity transform",
    ),
    "Set Transformer, clusters": Task(
        SetTransformer,
        clustered,
        lambda: clustered(0, HELD + 44, 256, 256),
        None,
        "Lee et al. 2019, its code: Xavier for seeds, torch's defaults for the rest",
        floor=1.0,  # the entropy of three clusters that do not touch is 1.53
    ),
}
