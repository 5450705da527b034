"""Costs: counted against the tensors that are really there."""

import json

import pytest
import torch
from torch import nn

from isoinit import sparse
from isoinit.errors import ArgumentError


def model():
    return nn.Sequential(
        nn.Embedding(300, 100), nn.Linear(100, 200), nn.LayerNorm(200), nn.Linear(200, 50)
    )


def test_the_bytes_are_those_of_the_model():
    net = sparse.convert(model(), density=0.1, seed=0)
    costs = sparse.costs(net)
    held = {id(t): t.nbytes for t in (*net.parameters(), *net.buffers())}
    assert costs.total.stored == sum(held.values())
    assert costs.total.dense_stored == sum(p.nbytes for p in model().parameters())
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.arange(8)).sum().backward()
    optimizer.step()
    state = [s for held in optimizer.state.values() for n, s in held.items() if n != "step"]
    grads = [p.grad for p in net.parameters()]
    assert costs.total.training == sum(held.values()) + sum(t.nbytes for t in (*state, *grads))


def test_operations_are_two_a_weight_and_none_for_a_table():
    table, first, last = sparse.costs(sparse.convert(model(), density=0.1, seed=0)).weights
    assert (table.operations, table.dense_operations) == (0, 0)
    assert (first.operations, first.dense_operations) == (2 * 2000, 2 * 20_000)
    assert last.name == "3.weight"
    assert last.kept == 1000


def test_where_nothing_is_saved_it_says_why():
    net = nn.Sequential(nn.Conv1d(8, 8, 3), nn.Linear(8, 8), nn.Linear(16, 16))
    net = sparse.convert(net, density={"0.weight": 0.25, "1.weight": 0.25, "2.weight": 1.0}, seed=0)
    conv, small, dense = sparse.costs(net).weights
    assert "no saving of time" in conv.note
    assert conv.operations == conv.dense_operations
    assert "no saving of memory" in small.note
    assert not dense.note
    masked = sparse.costs(sparse.mask(model(), density=0.1, seed=0)).weights[0]
    assert masked.note.startswith("no saving")
    assert masked.kept == masked.weights


def test_it_prints_and_is_json():
    costs = sparse.costs(sparse.convert(model(), density=0.1, seed=0))
    text = str(costs)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "1.weight" in text
    assert "0.1×" in text
    assert json.loads(costs.to_json())["total"]["kept"] == costs.total.kept


def test_a_model_without_parameters():
    with pytest.raises(ArgumentError, match="no parameters"):
        sparse.costs(nn.ReLU())
