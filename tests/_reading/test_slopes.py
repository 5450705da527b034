"""PReLU in other words gets PReLU's plan; what only looks like it does not."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit

X = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Four layers, each followed by one function of its output and a parameter."""

    def __init__(self, function):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(4))
        self.p, self.function = nn.Parameter(torch.full((64,), 0.1)), function

    def forward(self, x):
        for layer in self.layers:
            x = self.function(layer(x), self.p)
        return x


def masked(z, p):
    mask = (z > 0).float()
    return mask * z + (1 - mask) * p * z


SLOPES = {
    "where": (lambda z, p: torch.where(z > 0, z, p * z), 0.25),
    "two relus": (lambda z, p: z.relu() - p * (-z).relu(), 0.25),
    "clamps": (lambda z, p: z.clamp(min=0) + p * z.clamp(max=0), 0.25),
    "maximum": (lambda z, p: torch.maximum(z, p * z), 0.25),
    "a mask": (masked, 0.25),
    "in between": (lambda z, p: p * z + (1 - p) * z.relu(), 0.25),
    "halves": (lambda z, p: 0.5 * (z + z.abs()) + 0.5 * p * (z - z.abs()), 0.25),
    "of the other sign": (lambda z, p: torch.where(z > 0, z, -p * z), -0.25),
    "of twice the size": (lambda z, p: torch.where(z > 0, z, p / 2 * z), 0.5),
}
NONE = {
    "swish": lambda z, p: z * torch.sigmoid(p * z),
    "elu": lambda z, p: torch.where(z > 0, z, p * (torch.exp(z) - 1)),
    "scaled first": lambda z, p: functional.relu(p * z),
    "scaled afterwards": lambda z, p: p * z.relu(),
}


def planned(function):
    return isoinit.plan(Net(function), X, keep="frozen")


def weights(plan):
    return [(e.initializer.std_for(e.layout), e.expected) for e in plan if e.name != "p"][:-2]


@pytest.mark.parametrize("name", SLOPES)
def test_every_spelling_of_a_learned_slope_gets_the_plan_of_prelu(name):
    function, start = SLOPES[name]
    plan, known = (planned(f) for f in (function, functional.prelu))
    assert plan["p"].initializer.val == pytest.approx(start)
    for (std, size), (known_std, known_size) in zip(weights(plan), weights(known), strict=True):
        assert std == pytest.approx(known_std)
        assert size == (known_size and pytest.approx(known_size, rel=1e-3))


@pytest.mark.parametrize("name", NONE)
def test_a_scale_of_a_function_that_is_no_line_stays_one(name):
    assert planned(NONE[name])["p"].initializer == isoinit.Ones()


def test_of_two_slopes_one_stays_neutral():
    class Bilateral(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64)
            self.up, self.down = nn.Parameter(torch.ones(64)), nn.Parameter(torch.ones(64))

        def forward(self, x):
            z = self.first(x)
            return self.last(self.up * z.relu() - self.down * (-z).relu())

    plan = isoinit.plan(Bilateral(), X)
    assert plan["up"].initializer == isoinit.Constant(0.25)
    assert plan["down"].initializer == isoinit.Ones()


@pytest.mark.parametrize("name", ["where", "maximum"])
def test_what_is_expected_with_a_slope_is_measured(name):
    net = Net(SLOPES[name][0])
    plan = isoinit.plan(net, X)
    plan.apply(net, seed=0)
    sizes, x = [], X
    with torch.no_grad():
        for layer in net.layers:
            sizes.append(layer(x).square().mean().sqrt().item())
            x = net.function(layer(x), net.p)
    for index, size in enumerate(sizes):
        assert plan[f"layers.{index}.weight"].expected == pytest.approx(size, rel=0.15)
