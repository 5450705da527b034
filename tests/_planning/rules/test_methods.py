"""What a method that is asked for by name puts on which weights."""

import math

import pytest
import torch
from torch import nn

import isoinit
from isoinit._planning.rules import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_asked_for_by_name(method):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))
    plan = isoinit.init(model, torch.randn(2, 3, 3, 3), seed=3, method=method)
    where = "3.weight" if method == "auto" else "0.weight"
    kind = {
        "auto": isoinit.Orthogonal,
        "zero": isoinit.Zeros,
        "random": isoinit.Normal,
        "xavier": isoinit.XavierNormal,
        "he": isoinit.HeNormal,
        "lecun": isoinit.LeCunNormal,
        "orthogonal": isoinit.Orthogonal,
        "sparse": isoinit.Sparse,
        "variational": isoinit.Variational,
    }[method]
    assert isinstance(plan[where].initializer, kind)
    assert plan["3.weight"].rule == ("ReLU" if method == "auto" else "")
    assert plan["0.bias"].initializer == isoinit.Zeros()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert bool(plan.warnings) == (method == "zero")


def test_a_method_leaves_embeddings_and_norms_to_their_rules():
    model = nn.Sequential(nn.Embedding(10, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    plan = isoinit.plan(model, torch.tensor([[1]]), method="orthogonal")
    assert plan["0.weight"].initializer == isoinit.Normal(std=4**-0.25)
    assert plan["1.weight"].initializer == isoinit.Ones()
    assert plan["2.weight"].initializer == isoinit.Orthogonal()


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_orthogonal_everywhere_keeps_the_signal(activation):
    layers = [x for _ in range(50) for x in (nn.Linear(128, 128), activation())]
    model, x = nn.Sequential(nn.Linear(32, 128), activation(), *layers), torch.randn(64, 32)
    plan = isoinit.init(model, x, method="orthogonal", seed=0)
    gain = math.sqrt(2) if activation is nn.ReLU else 1.0
    assert plan["0.weight"].std == pytest.approx(1 / math.sqrt(32))  # 128 units from 32 inputs
    assert plan["2.weight"].std == pytest.approx(gain / math.sqrt(128), rel=0.01)
    assert isoinit.check(model, x).ok


def test_sparse_keeps_ten_connections_a_unit():
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 200), nn.Linear(200, 4))
    isoinit.init(model, torch.randn(2, 8), method="sparse", seed=0)
    counts = [set((model[i].weight != 0).sum(1).tolist()) for i in (0, 2, 3)]
    assert counts == [{8}, {10}, {20}]


def test_what_the_rule_book_fixes_gets_no_distribution():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.last = nn.Linear(4, 8), nn.Linear(8, 2)
            self.first = nn.Linear(4, 8)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)) * torch.exp(self.scale(x)))

    plan = isoinit.plan(Scaled(), torch.randn(6, 4), method="variational")
    assert plan["scale.weight"].initializer == isoinit.Zeros()
    assert isinstance(plan["last.weight"].initializer, isoinit.Variational)
