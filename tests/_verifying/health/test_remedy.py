"""Advice is the shortest call that mends, and never the plan that was just applied."""

import pytest
import torch
from torch import nn

import isoinit


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = normal(64, 64)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def deep(activation=nn.ReLU, depth=20):
    layers = [x for _ in range(depth) for x in (nn.Linear(64, 64), activation())]
    return nn.Sequential(*layers, nn.Linear(64, 5))


def advice(model, name, **more):
    return {f.name: f.advice for f in isoinit.check(model, X, **more).findings}[name]


def test_one_call_for_all():
    model = deep()
    said = advice(model, "vanishing gradient")
    assert said.startswith("20 weights are off: isoinit.init(model, batch); ")
    isoinit.init(model, X, seed=0)
    assert isoinit.check(model, X).findings == []


def test_one_weight_is_named_in_the_call():
    model = deep(depth=6)
    isoinit.init(model, X, seed=0)
    model[4].weight.data.mul_(20)
    said = advice(model, "scale stands out")
    assert said.startswith("isoinit.init(model, batch, only=['4.weight']) fixes it; ")
    isoinit.init(model, X, seed=0, only=["4.weight"])
    assert isoinit.check(model, X).findings == []


def test_a_plan_that_was_not_applied_is_what_is_to_be_done():
    model = deep()
    plan = isoinit.plan(model, X)
    assert "20 weights are not as planned: plan.apply(model)" in advice(
        model, "vanishing gradient", plan=plan
    )


@pytest.mark.parametrize("given", [False, True])
def test_the_plan_that_was_applied_is_not_advised(given):
    model = deep(nn.Sigmoid)  # which no plan of independent weights keeps alive
    plan = isoinit.plan(model, X, method="lecun")
    plan.apply(model, seed=0)
    said = advice(model, "vanishing gradient", plan=plan if given else None)
    assert "plan.apply" not in said
    assert said.startswith("19 weights are off: isoinit.init(model, batch)")  # the rules know more
    again = isoinit.plan(model, X)
    again.apply(model, seed=0)
    for finding in isoinit.check(model, X, plan=again if given else None).findings:
        assert "isoinit.init" not in finding.advice
        assert "plan.apply" not in finding.advice


def test_what_a_plan_keeps_is_named():
    class Fixed(nn.Module):
        """Twelve layers that their constructor gave a pattern of its own, far too small."""

        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(12))
            for layer in self.layers:
                layer.weight.data.copy_(torch.eye(64).roll(1, 0) * 0.25)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x).tanh()
            return x

    model = Fixed()
    plan = isoinit.plan(model, X)
    assert len(plan.kept) == 12
    said = advice(model, "vanishing signal")
    assert said.startswith("no plan changes these weights (it keeps layers.0.weight, ")
    assert "keep='nothing'" in said
    isoinit.init(model, X, keep="nothing", seed=0)
    assert isoinit.check(model, X).ok


def test_zeros_in_the_middle_are_named_in_the_call():
    model = deep(depth=3)
    isoinit.init(model, X, seed=0)
    nn.init.zeros_(model[2].weight)
    said = advice(model, "symmetry")
    assert said.startswith("isoinit.init(model, batch, only=['2.weight']) fixes it; ")
    isoinit.init(model, X, seed=0, only=["2.weight"])
    assert isoinit.check(model, X).findings == []


def test_a_last_norm_before_a_relu_does_not_start_at_zero():
    class Block(nn.Module):
        def __init__(self, last):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.last = last

        def forward(self, x):
            return x + self.last(self.norm(self.conv(x)))

    for last, starts in ((nn.ReLU(), 1.0), (nn.Identity(), 0.0), (nn.GELU(), 0.0)):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), Block(last), nn.Flatten(), nn.Linear(288, 5))
        batch = normal(8, 3, 8, 8)
        isoinit.init(model, batch, seed=0)
        assert model[1].norm.weight.unique().tolist() == [starts]
        assert isoinit.check(model, batch).ok


def test_no_plan_gives_zero_to_two_factors():
    """A last layer of zeros (Fixup) before a scale at which a block starts as the identity."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 64)
            self.scale, self.shift = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
            nn.init.zeros_(self.b.weight)

        def forward(self, x):
            return x + self.scale * self.b(torch.relu(self.a(x))) + self.shift

    model = nn.Sequential(*(Block() for _ in range(4)), nn.Linear(64, 5))
    assert isoinit.check(model, X).findings == []
    isoinit.init(model, X, seed=0)
    assert isoinit.check(model, X).findings == []
    assert model[0].scale.item() == 0
    assert model[0].b.weight.std() > 0
