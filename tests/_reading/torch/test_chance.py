"""Random numbers that a forward draws: dropout in any spelling, noise, and what is made of noise."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit

X = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))


def per_example(z):
    mask = z.new_empty((len(z), 1)).bernoulli_(0.5)
    return z * mask.div_(0.5)


DROPOUT = {
    "bernoulli": lambda z: z * torch.bernoulli(torch.full_like(z, 0.5)) / 0.5,
    "rand": lambda z: z * (torch.rand_like(z) < 0.5) / 0.5,
    "per example": per_example,
    "floor": lambda z: z.div(0.5) * torch.floor(0.5 + torch.rand((len(z), 1))),
    "where": lambda z: torch.where(torch.rand(z.shape) < 0.5, 2 * z, torch.zeros_like(z)),
    "masked_fill": lambda z: z.masked_fill(torch.rand_like(z) < 0.5, 0.0) / 0.5,
}
NOISE = {
    "added": lambda z: z + torch.randn_like(z),
    "added, by normal_": lambda z: z + torch.empty_like(z).normal_(),
    "multiplied": lambda z: z * (1 + 0.5 * torch.randn_like(z)),
    "of mean zero": lambda z: z * torch.randn_like(z),
    "uniform": lambda z: z + torch.empty(len(z), 64).uniform_(-2, 2),
}


class Stack(nn.Module):
    def __init__(self, chance, residual=False):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(6))
        self.chance, self.residual = chance, residual

    def forward(self, x):
        for layer, after in zip(self.layers[::2], self.layers[1::2], strict=True):
            y = self.chance(
                after(layer(x).relu()) if self.residual else after(layer(x).relu()).relu()
            )
            x = x + y if self.residual else y
        return x


def dropout(z):
    return functional.dropout(z, 0.5, training=True)


def entries(plan):
    return [(e.initializer.std_for(e.layout), e.expected, e.expected_gradient) for e in plan][::2]


def measured(net):
    sizes = []
    for layer in net.layers:
        layer.register_forward_hook(lambda _m, _x, y: sizes.append(y.square().mean().sqrt().item()))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        net(X)
    return sizes


@pytest.mark.parametrize(
    ("name", "residual"), [*((name, False) for name in DROPOUT), ("per example", True)]
)
def test_dropout_in_other_words_gets_the_plan_of_dropout(name, residual):
    plan, known = (isoinit.plan(Stack(f, residual), X) for f in (DROPOUT[name], dropout))
    assert [e.role for e in plan] == [e.role for e in known]
    for found, right in zip(entries(plan), entries(known), strict=True):
        assert found == pytest.approx(right, rel=0.02)


@pytest.mark.parametrize("name", NOISE)
def test_noise_counts_as_it_is_measured(name):
    net = Stack(NOISE[name])
    plan = isoinit.plan(net, X)
    plan.apply(net, seed=0)
    expected = [e.expected for e in plan][::2]
    assert not plan.warnings
    assert expected == pytest.approx(measured(net), rel=0.25)


def test_noise_in_the_place_of_a_signal_is_known():
    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = (
                nn.Linear(32, 64),
                nn.Linear(64, 64),
                nn.Linear(64, 9),
            )

        def forward(self, x):
            noise = 2 * torch.randn(len(x), 32)
            return self.last((self.first(noise) + self.second(x)).relu())

    plan = isoinit.plan(Generator(), X)
    entry = plan["first.weight"]
    assert entry.initializer.std_for(entry.layout) == pytest.approx(0.5 / 32**0.5, rel=0.01)
    assert not plan.warnings


def test_a_plan_with_chance_is_the_same_each_time():
    torch.manual_seed(0)
    first = isoinit.plan(Stack(NOISE["added"]), X)
    torch.manual_seed(1)
    assert isoinit.plan(Stack(NOISE["added"]), X).to_json() == first.to_json()
