"""One function in many spellings gets one plan."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import isoinit
from spellings import OTHERS, RELU

FUNCTIONS = {"relu": (F.relu, RELU), **OTHERS}


class Act(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return self.function(z)


class Gated(nn.Module):
    """A gated unit."""

    def __init__(self, function):
        super().__init__()
        self.gate, self.value, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 6)
        self.function = function

    def forward(self, x):
        return self.out(self.function(self.gate(x)) * self.value(x))


class Block(Gated):
    """A residual branch behind a norm layer."""

    def forward(self, x):
        return x + self.out(self.function(self.gate(F.layer_norm(x, (6,)))))


class Branching(Act):
    """Looks at the numbers, so that fake tensors don't do."""

    def forward(self, x):
        return self.function(x) if x.sum() < 1e9 else x


def stack(function, depth):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(6, 6), Act(function))]
    return nn.Sequential(*layers, nn.Linear(6, 2))


def residual(function):
    return nn.Sequential(nn.Linear(6, 6), Block(function), Block(function))


def images(function):
    conv = nn.Conv2d(3, 6, 3, padding=1)
    return nn.Sequential(
        conv, nn.BatchNorm2d(6), Act(function), nn.Conv2d(6, 6, 3), Act(function), nn.Flatten(),
        nn.Linear(216, 2),
    )  # fmt: skip


PLACES = {
    "chain": (lambda f: stack(f, 13), torch.randn(4, 6)),
    "tokens": (lambda f: stack(f, 2), torch.randn(2, 5, 6)),
    "gated unit": (Gated, torch.randn(4, 6)),
    "residual branch": (residual, torch.randn(4, 6)),
    "convolutions": (images, torch.randn(2, 3, 8, 8)),
    "on the example": (lambda f: Branching(stack(f, 2)), torch.randn(4, 6)),
    "bfloat16": (lambda f: stack(f, 2).bfloat16(), torch.randn(4, 6).bfloat16()),
}  # fmt: skip


def entries(function, place):
    build, batch = PLACES[place]
    plan = isoinit.plan(build(function), batch.clone())
    return [(e.name, e.initializer, e.std, e.rule, e.expected) for e in plan]


@pytest.fixture(scope="module")
def known():
    """The plan of each function as torch has it, by its name and its place."""
    return {}


CASES = [(name, way) for name, (_, ways) in FUNCTIONS.items() for way in ways]


@pytest.mark.parametrize(("name", "way"), CASES, ids=[f"{n}: {w}" for n, w in CASES])
def test_every_spelling_gets_the_plan_of_the_function(name, way, known):
    function, ways = FUNCTIONS[name]
    place = list(PLACES)[CASES.index((name, way)) % len(PLACES)]
    if (name, place) not in known:
        known[name, place] = entries(function, place)
    for found, right in zip(entries(ways[way], place), known[name, place], strict=True):
        assert found[:4] == right[:4]
        assert found[4] == (right[4] and pytest.approx(right[4], rel=1e-4, abs=1e-12))


@pytest.mark.parametrize(("name", "way"), CASES, ids=[f"{n}: {w}" for n, w in CASES])
def test_the_spellings_are_right(name, way):
    z = torch.linspace(-4, 4, 40, dtype=torch.float64).reshape(8, 5)
    function, ways = FUNCTIONS[name]
    torch.testing.assert_close(ways[way](z.clone()), function(z), rtol=1e-6, atol=1e-9)
