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
