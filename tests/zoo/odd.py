"""Sequences, graphs, and everything that a parser stumbles over."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class GraphNetwork(nn.Module):
    """Messages along edges, summed at the nodes (Gilmer et al. 2017)."""

    def __init__(self, n=16):
        super().__init__()
        self.embed = nn.Linear(4, n)
        self.message = nn.Linear(2 * n, n)
        self.update = nn.GRUCell(n, n)
        self.read = nn.Linear(n, 1)

    def forward(self, nodes, edges):
        h = F.relu(self.embed(nodes))
        for _ in range(2):
            pairs = torch.cat([h[edges[0]], h[edges[1]]], -1)
            messages = F.relu(self.message(pairs))
            total = torch.zeros_like(h).index_add(0, edges[1], messages)
            h = self.update(total, h)
        return self.read(h.sum(0))


class Equilibrium(nn.Module):
    """Bai et al. 2019: iterates until nothing changes."""

    def __init__(self, n=16):
        super().__init__()
        self.inject, self.inner, self.out = nn.Linear(4, n), nn.Linear(n, n), nn.Linear(n, 2)

    def forward(self, x):
        u = self.inject(x)
        z = torch.zeros_like(u)
        for _ in range(30):
            new = torch.tanh(0.5 * self.inner(z) + u)
            if (new - z).abs().max() < 1e-3:
                break
            z = new
        return self.out(z)


class LanguageModel(nn.Module):
    def __init__(self, cell=nn.LSTM):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.rnn = cell(16, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 50)

    def forward(self, ids):
        return self.head(self.rnn(self.embed(ids))[0])


class Branches(nn.Module):
    """Loops and branches on the data."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = torch.tanh(self.a(x))
        for _ in range(int(x.abs().sum().clamp(1, 2).item())):
            x = F.relu(self.b(x))
        return self.head(x) if bool((x >= 0).all()) else x


class Expert(nn.Module):
    """A mixture of experts whose weights are stacks."""

    def __init__(self, experts=4, n=8):
        super().__init__()
        self.router = nn.Linear(n, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, n, 16))
        self.down = nn.Parameter(torch.randn(experts, 16, n))

    def forward(self, x):
        gates = self.router(x).softmax(-1)
        y = torch.einsum("bi,eij->bej", x, self.up)
        y = torch.einsum("bej,eji->bei", F.silu(y), self.down)
        return x + torch.einsum("be,bei->bi", gates, y)


class Chosen(nn.Module):
    """The same, but each example computes its best expert alone, through a gather."""

    def __init__(self, experts=4, n=8):
        super().__init__()
        self.router = nn.Linear(n, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, n, 16))
        self.down = nn.Parameter(torch.randn(experts, 16, n))

    def forward(self, x):
        gate, best = self.router(x).softmax(-1).max(-1)
        y = torch.bmm(x[:, None], self.up[best])
        y = torch.bmm(F.silu(y), self.down[best])
        return x + gate[:, None] * y[:, 0]


class ByHand(nn.Module):
    """Parameters in lists and dicts, used directly in every way."""

    def __init__(self):
        super().__init__()
        self.list = nn.ParameterList([nn.Parameter(torch.randn(8, 8)) for _ in range(2)])
        self.dict = nn.ParameterDict({"w": torch.randn(8, 16), "b": torch.zeros(16)})
        self.left = nn.Parameter(torch.randn(12, 16))
        self.three = nn.Parameter(torch.randn(12, 2, 6))
        self.implicit = nn.Parameter(torch.randn(6, 4))
        self.dots = nn.Parameter(torch.randn(4, 5))
        self.dotted = nn.Parameter(torch.randn(5, 3))

    def forward(self, x):
        for w in self.list:
            x = torch.relu(x @ w)
        x = torch.tanh(x @ self.dict["w"] + self.dict["b"])
        x = (self.left @ x.t()).t()
        x = torch.einsum("bi,ihd->bhd", x, self.three)
        x = torch.einsum("bhd,dz", x, self.implicit)  # the result in alphabetical order: bhz
        x = torch.einsum("...i,io->...o", x, self.dots)
        return torch.tensordot(x, self.dotted, dims=1)


class Square(torch.autograd.Function):
    """A layer with a gradient of its own."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return (x @ weight.t()) ** 2

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        inner = 2 * grad * (x @ weight.t())
        return inner @ weight, inner.t() @ x


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(Square.apply(x, self.weight))


class Twice(nn.Module):
    """A module used twice, and an output tied to the input."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.shared = nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        return self.head(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


class Parametrized(nn.Module):
    def __init__(self):
        super().__init__()
        p = nn.utils.parametrizations
        self.a = p.weight_norm(nn.Linear(4, 8))
        self.b = p.spectral_norm(nn.Linear(8, 8))
        self.c = p.orthogonal(nn.Linear(8, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(F.relu(self.c(F.relu(self.b(F.relu(self.a(x)))))))


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.LazyLinear(8), nn.LazyLinear(2)

    def forward(self, x):
        return self.b(F.relu(self.a(x)))
