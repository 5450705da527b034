"""What is found of a graph is found once, and goes with it."""

import gc
import weakref

import torch
from torch import nn

from isoinit._reading.pointwise import feeding, following
from isoinit._reading.roles import read_roles
from isoinit._reading.torch import trace


def traced():
    return trace(
        nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 2)),
        torch.randn(3, 4),
    )


def test_a_value_is_followed_once():
    graph = traced()
    asked = []

    def find(graph, value):
        asked.append(value)

    for value in (1, 2, 1):
        graph.once(find, value)
    assert asked == [1, 2]
    made = graph.ops[0].outputs[0]
    assert following(graph, made) is following(graph, made)
    assert feeding(graph, made) is feeding(graph, made)
    assert feeding(traced(), made) is not feeding(graph, made)


def test_what_was_found_keeps_no_graph_alive():
    graph = traced()
    read_roles(graph, traced)
    made = graph.ops[0].outputs[0]
    held, gone = (feeding(graph, made), following(graph, made)), weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None
    assert held[1].activation.name == "tanh"


class Nested(nn.Module):
    """A skip around a stack of gated layers with skips of their own."""

    def __init__(self):
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(4, 8) for _ in range(3))
        self.first = nn.Linear(4, 4)

    def forward(self, x):
        x = self.first(x)
        y, beside = x, torch.tanh(x)
        for layer in self.gates:
            gate, value = layer(y).chunk(2, -1)
            y = y + self.first(torch.sigmoid(gate) * value * beside)
        return x + self.first(torch.tanh(y))


def test_a_branch_is_what_depends_on_its_start():
    graph = trace(Nested(), torch.randn(3, 4))
    assert len(graph.joins) > 1
    for join in graph.joins.values():
        leading = graph.leading_to([join.branch])
        values = {v for v in leading if v != join.start and graph.depends(v, on=join.start)}
        assert graph.inside(join) == {graph.producers[v].index for v in values}
