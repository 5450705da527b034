"""Where a walk loses the signal, and why."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit._planning.propagation.lost import lost_at
from isoinit._reading.graph import Graph, Op


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.a, self.b, self.function = nn.Linear(64, 64), nn.Linear(64, 8), function

    def forward(self, x):
        return self.b(torch.relu(self.function(self.a(x))) * 2)


@pytest.mark.parametrize(
    ("function", "lost"),
    [
        (lambda z: z.cumsum(-1), "cumsum"),
        (lambda z: z.sort(-1)[0], "sort"),
        (lambda z: torch.where(z > 0, z.cummax(-1)[0], z), "cummax"),
    ],
)
def test_the_operation_is_named(function, lost):
    with torch.device("meta"):  # where it cannot be measured
        model = Net(function)
    reason = isoinit.plan(model, torch.randn(4, 64))["b.weight"].reason
    assert f"cannot follow ({lost})" in reason


def test_the_first_operation_on_the_way_counts():
    ops = [Op(i, name, "other", (i,), (i + 1,)) for i, name in enumerate(["a", "b", "c"])]
    graph = Graph(tuple(ops), {}, {}, (3,), "fake")
    assert lost_at(graph, {0, 1}, 3).name == "b"
    assert lost_at(graph, set(), 3) is None
