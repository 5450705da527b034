"""Sparse models are read, planned and checked as their layers are."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit import sparse


def converted():
    model = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 8)
    )
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    return sparse.convert(model, isoinit.plan(model, x), density=0.25, seed=0), x


def test_the_chain_is_read():
    model, x = converted()
    assert isoinit.read(model, x).chain() == [
        ("0", "input", "relu → 2"),
        ("2", "relu(0)", "tanh → 4"),
        ("4", "tanh(2)", "output"),
    ]


def test_the_plan_scales_by_the_inputs_that_are_kept():
    model, x = converted()
    plan = isoinit.plan(model, x)
    assert plan["0.values"].std == pytest.approx(1 / 4)  # 16 inputs
    assert plan["2.values"].std == pytest.approx((2 / 32) ** 0.5)
    assert plan["2.values"].fan_in == 32
    plan.apply(model, seed=1)
    health = isoinit.check(model, x, plan=plan)
    assert health.ok
    assert len(health.layers) == 3


@pytest.mark.parametrize("method", ["orthogonal", "sparse"])
def test_methods_that_need_a_matrix_give_way(method):
    model, x = converted()
    plan = isoinit.plan(model, x, method=method)
    assert isinstance(plan["2.values"].initializer, isoinit.HeNormal)
    assert "drawn independently" in plan["2.values"].reason


def test_a_vanishing_signal_is_found():
    model = nn.Sequential(*[m for _ in range(10) for m in (nn.Linear(64, 64), nn.ReLU())])
    x = torch.randn(64, 64)
    model = sparse.convert(model, isoinit.plan(model, x), density=0.2, seed=0)
    with torch.no_grad():
        for layer in model[::2]:
            layer.values.mul_(0.4)
    assert not isoinit.check(model, x).ok


def test_tables_convolutions_and_recurrent_layers():
    model = nn.Sequential(nn.Embedding(50, 32), nn.LSTM(32, 16, batch_first=True))
    index = torch.randint(0, 50, (4, 7))
    model = sparse.convert(model, isoinit.plan(model, index), density=0.25, seed=0)
    plan = isoinit.plan(model, index)
    assert plan["0.values"].role == "embedding"
    assert plan["0.values"].std == pytest.approx(2 * 8**-0.25)  # a fourth of the numbers, 8 a row
    inner = "1.parametrizations.weight_hh_l0.original"
    assert plan[inner].role == "recurrent weight"
    assert plan[inner].fan_in == pytest.approx(4, rel=0.1)
    conv = nn.Sequential(nn.Conv2d(8, 16, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4))
    x = torch.randn(5, 8, 4, 4)
    conv = sparse.convert(conv, isoinit.plan(conv, x), density=0.25, seed=0)
    entry = isoinit.plan(conv, x)["0.parametrizations.weight.original"]
    assert entry.role == "weight before relu"
    assert entry.fan_in == pytest.approx(9)


def test_a_plan_of_a_sparse_model_is_saved_and_read(tmp_path):
    model, x = converted()
    plan = isoinit.plan(model, x)
    plan.save(tmp_path / "plan.json")
    loaded = isoinit.Plan.load(tmp_path / "plan.json")
    assert not loaded.diff(plan)
    loaded.apply(model, seed=3)
