"""A product with a vector makes one unit: what it gives at each place is no unit of its own."""

import dataclasses

import pytest
import torch
from torch import nn

import isoinit


class Attention(nn.Module):
    """A layer of a graph network, whose edges are scored by a vector, or by a matrix of one column."""

    def __init__(self, *columns):
        super().__init__()
        self.embed = nn.Linear(8, 32, bias=False)
        self.score = nn.Parameter(torch.empty(64, *columns))
        self.out = nn.Linear(32, 3)

    def forward(self, x, edges):
        (source, target), h = edges, self.embed(x)
        scores = torch.cat([h[source], h[target]], 1) @ self.score
        weights = nn.functional.leaky_relu(scores.reshape(-1), 0.2).exp()
        shares = weights / torch.zeros(len(x)).index_add(0, target, weights)[target]
        messages = shares[:, None] * h[source]
        return self.out(nn.functional.elu(torch.zeros_like(h).index_add(0, target, messages)))


@pytest.fixture
def graph():
    """Nodes with random neighbours, some of which are joined twice."""
    generator = torch.Generator().manual_seed(0)
    edges, loops = torch.randint(60, (2, 200), generator=generator), torch.arange(60)
    edges = torch.cat([edges, edges[:, :40], torch.stack([loops, loops])], 1)
    return torch.randn(60, 8, generator=generator), edges


def test_a_vector_is_a_matrix_of_one_column(graph):
    """Edges that are there twice are no units that do the same."""
    healths = []
    for columns in ((), (1,)):
        model = Attention(*columns)
        isoinit.init(model, graph, seed=0)
        healths.append(isoinit.check(model, graph, loss=lambda y: y.square().mean()))
    assert all(health.ok and not health.findings for health in healths)
    one, other = (next(x for x in h.layers if x.name == "score") for h in healths)
    assert (one.units, one.rank) == (1, pytest.approx(1.0))
    fields = dataclasses.asdict(one).keys() - {"name", "value"}
    for field in fields:
        expected = getattr(other, field)
        if expected is not None:
            assert getattr(one, field) == pytest.approx(expected, rel=1e-4, nan_ok=True), field
