"""What is said at planning of a signal or gradient that vanishes or explodes, and what is not."""

import itertools
import re

import pytest
import torch
from torch import nn

import isoinit
from zoo import vision
from zoo.models import ZOO


def plain(activation, depth, width=128):
    sizes = [width] * (depth + 1)
    layers = [p for a, b in itertools.pairwise(sizes) for p in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def said(plan):
    return [warning for warning in plan.warnings if "is predicted to" in warning]


def factor(warning):
    return float(re.search(r"about (\S+) times", warning)[1])


def test_a_sigmoid_stack_names_its_ends_and_the_factor():
    # With a gain of one the mean square q of the signal settles at E[σ(√q z)²], that of the gradient
    # falls by E[σ'(√q z)²] at each of ten activations.
    levels = torch.special.ndtri((torch.arange(4096.0) + 0.5) / 4096)
    q = 0.3
    for _ in range(50):
        q = torch.sigmoid(q**0.5 * levels).square().mean().item()
    opened = torch.sigmoid(q**0.5 * levels)
    falls = (opened * (1 - opened)).square().mean().item()
    batch = torch.randn(64, 128)
    (warning,) = said(isoinit.plan(plain(nn.Sigmoid, 10), batch, method="xavier"))
    assert "gradient is predicted to vanish: from '0.weight' to '20.weight'" in warning
    assert "residual branches" in warning
    assert factor(warning) == pytest.approx(falls**-5, rel=0.2)


def test_what_a_plan_says_is_measured():
    model, batch = plain(nn.Sigmoid, 10), torch.randn(64, 128)
    plan = isoinit.plan(model, batch, method="xavier")
    layers = isoinit.check(plan.apply(model, seed=0), batch).layers
    assert layers[-1].gradient / layers[0].gradient > 100
    assert said(plan)


def test_both_directions_are_judged():
    # LeCun's weights halve the mean square behind each relu, weights of twice He's double it.
    model, batch = plain(nn.ReLU, 20), torch.randn(64, 128)
    shrinks = said(isoinit.plan(model, batch, method="lecun"))
    assert [factor(w) for w in shrinks] == pytest.approx([2**10] * 2, rel=0.2)
    assert all("vanish" in warning for warning in shrinks)
    twice = {"*.weight": isoinit.HeNormal(gain=2.0)}
    grows = said(isoinit.plan(model, batch, overrides=twice))
    assert [factor(w) for w in grows] == pytest.approx([2**10] * 2, rel=0.2)
    assert all("explode" in warning for warning in grows)


def test_of_a_few_layers_nothing_is_said():
    assert not said(isoinit.plan(plain(nn.Sigmoid, 2), torch.randn(64, 128), method="xavier"))


@pytest.mark.parametrize("name", ZOO)
def test_healthy_models_are_left_in_peace(name):
    build, batch, _ = ZOO[name]
    torch.manual_seed(0)
    assert not said(isoinit.plan(build(), batch))


class Blocks(nn.Module):
    """Residual blocks whose branches start small on purpose, and a layer behind them."""

    def __init__(self, scale):
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64)
        self.ins, self.outs = (nn.ModuleList(nn.Linear(64, 64) for _ in range(4)) for _ in "ab")
        self.scale = nn.Parameter(torch.full((64,), scale))

    def forward(self, x):
        x = self.first(x)
        for first, second in zip(self.ins, self.outs, strict=True):
            x = x + self.scale * second(torch.relu(first(x)))
        return self.last(x)


@pytest.mark.parametrize("scale", [0.0, 1e-5, 1.0])
def test_small_branches_are_meant(scale):
    start = {"scale": isoinit.Constant(scale)}
    assert not said(isoinit.plan(Blocks(scale), torch.randn(64, 64), overrides=start))


def test_zero_last_norms_are_meant():
    assert not said(isoinit.plan(vision.ResNet50(), torch.randn(8, 3, 64, 64)))
