"""Healthy models pass, broken ones fail with the right finding."""

import functools
import json
import math

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import isoinit
from isoinit.errors import ArgumentError, UnhealthyError


def deep(activation=nn.ReLU, depth=30, width=64):
    layers = [x for _ in range(depth) for x in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 8))


@pytest.fixture
def batch():
    return torch.randn(128, 64, generator=torch.Generator().manual_seed(0))


def names(health):
    return {finding.name for finding in health.findings}


@functools.cache
def planned(activation):
    batch = torch.randn(128, 64, generator=torch.Generator().manual_seed(0))
    return isoinit.plan(deep(activation), batch)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.SELU, nn.ELU, nn.LeakyReLU])
@pytest.mark.parametrize("seed", range(3))
def test_planned_networks_are_healthy_where_torchs_default_is_not(activation, seed, batch):
    torch.manual_seed(seed)
    model = deep(activation)
    default = isoinit.check(model, batch)
    planned(activation).apply(model, seed)
    assert isoinit.check(model, batch).ok
    if activation is not nn.SELU:  # 30 layers of SELU lose a factor of 500, below an error
        assert not default.ok
        assert names(default) >= {"vanishing gradient", "vanishing distinction"}


def test_an_exploding_network(batch):
    model = deep()
    plan = isoinit.plan(model, batch)
    for entry in plan:
        if "weight" in entry.name:
            plan[entry.name] = isoinit.HeNormal(gain=3.0)
    plan.apply(model, seed=0)
    health = isoinit.check(model, batch)
    assert not health.ok
    assert names(health) == {"exploding signal", "exploding gradient"}
    growth = next(f.value for f in health.findings if f.name == "exploding signal")
    # The spread of 30 random layers of width 64 about the mean growth of 3/√2 a layer.
    assert math.log(growth) == pytest.approx(30 * math.log(3 / math.sqrt(2)), rel=0.2)


def test_symmetry(batch):
    """A zero weight before ReLU gets no gradient, now or later."""
    model = deep(depth=3)
    plan = isoinit.plan(model, batch)
    plan["2.weight"] = isoinit.Zeros()
    plan.apply(model, seed=0)
    health = isoinit.check(model, batch)
    assert not health.ok
    (finding,) = [f for f in health.findings if f.name == "symmetry"]
    assert finding.where == ("2.weight",)
    assert "symmetry stays unbroken" in str(finding)


def test_a_zero_weight_at_the_end_of_a_residual_branch_is_no_fault(batch):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 8)

        def forward(self, x):
            return self.head(x + self.b(torch.relu(self.a(x))))

    model = Residual()
    plan = isoinit.plan(model, batch)
    plan["b.weight"] = isoinit.Zeros()
    plan.apply(model, seed=0)
    assert isoinit.check(model, batch).findings == []


def test_the_first_layer_that_is_not_finite_is_named(batch):
    model = deep(depth=3)
    isoinit.init(model, batch, seed=0)
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    health = isoinit.check(model, batch)
    holds, made = [f for f in health.findings if f.name == "not finite"]
    assert holds.where == ("2.weight",)
    assert made.where == ("2.weight", "2")
    with pytest.raises(UnhealthyError, match="linear at 2 makes the first NaN in the forward pass"):
        health.raise_if_unhealthy()


@pytest.mark.parametrize(
    "step", [lambda z: (z > 0).float(), lambda z: z > 0, lambda z: z.long() // 2]
)
def test_activations_of_booleans_and_integers_are_measured(step):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.b(step(self.a(x)).to(x.dtype))

    health = isoinit.check(Steps(), torch.randn(32, 8))
    assert not math.isnan(health.layers[0].dead)


def test_parameters_without_a_gradient_are_named(batch):
    model = deep(depth=2)
    isoinit.init(model, batch, seed=0)
    model.idle = nn.Linear(2, 2)

    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.idle = deep(depth=2), nn.Linear(2, 2)

        def forward(self, x):
            return self.body(x)

    health = isoinit.check(Wrapper(), batch)
    (finding,) = [f for f in health.findings if f.name == "unused parameter"]
    assert finding.severity == "warning"
    assert finding.where == ("idle.weight", "idle.bias")


def test_a_check_that_saw_nothing_is_not_healthy():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    health = isoinit.check(scripted, torch.randn(8, 4))
    assert not health.ok
    assert "nothing measured" in names(health)
    assert isoinit.check(nn.Embedding(5, 4), torch.tensor([[1, 2]])).ok


class TestLoss:
    """Where the backward pass starts."""

    def test_a_loss_of_the_callers(self, batch):
        model = deep(depth=2)
        labels = torch.zeros(128, dtype=torch.long)
        health = isoinit.check(model, batch, loss=lambda y: nn.functional.cross_entropy(y, labels))
        expected = nn.functional.cross_entropy(model(batch), labels).item()
        assert health.loss == pytest.approx(expected)

    def test_the_models_own_loss(self):
        config = LlamaConfig(
            vocab_size=99,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
        model = LlamaForCausalLM(config)
        ids = torch.randint(0, 99, (2, 9), generator=torch.Generator().manual_seed(0))
        isoinit.init(model, {"input_ids": ids}, seed=0)
        health = isoinit.check(model, {"input_ids": ids, "labels": ids})
        assert health.loss == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), rel=1e-4)
        assert health.ok
        assert isoinit.check(model, {"input_ids": ids}).loss is None

    def test_a_random_gradient_without_one(self, batch):
        model = deep(depth=2)
        health = isoinit.check(model, batch)
        assert health.loss is None
        assert health.layers[-1].gradient == pytest.approx(1, rel=0.1)

    @pytest.mark.parametrize(
        ("loss", "match"),
        [
            (
                lambda y: y,
                r"loss returned a tensor of shape \(128, 8\); expected a tensor of one number",
            ),
            (lambda y: 1.0, "expected a tensor of one number"),
            (lambda y: y.detach().sum(), "does not depend on a trainable parameter"),
        ],
    )
    def test_a_loss_that_is_none(self, loss, match, batch):
        with pytest.raises(ArgumentError, match=match):
            isoinit.check(deep(depth=1), batch, loss=loss)

    def test_a_loss_that_fails_is_quoted(self, batch):
        with pytest.raises(isoinit.IsoinitError, match="ZeroDivisionError"):
            isoinit.check(deep(depth=1), batch, loss=lambda y: y.sum() / 0 if 1 // 0 else y)


def test_measurements_against_a_forward_by_hand(batch):
    model = deep(depth=2)
    isoinit.init(model, batch, seed=0)
    first = model[0](batch).detach().double()
    layer = isoinit.check(model, batch).layers[0]
    assert layer.name == "0"
    assert layer.rms == pytest.approx(first.square().mean().sqrt().item())
    assert layer.spread == pytest.approx((first - first.mean(0)).square().mean().sqrt().item())
    assert layer.largest == pytest.approx(first.abs().max().item())


def test_a_batch_of_one_works(batch):
    model = deep()
    isoinit.init(model, batch, seed=0)
    health = isoinit.check(model, batch[:1])
    assert health.ok
    assert math.isnan(health.layers[0].spread)


def test_the_answer_is_readable_by_people_and_programs(batch, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    health = isoinit.check(deep(), batch[:1])
    data = json.loads(health.to_json())
    assert data["ok"] is False
    assert data["layers"][0]["spread"] is None
    assert data["findings"][0]["severity"] == "error"
    text = str(health)
    assert "unhealthy" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_same_check_gives_the_same_answer(batch):
    model = deep()
    assert isoinit.check(model, batch).to_json() == isoinit.check(model, batch).to_json()
