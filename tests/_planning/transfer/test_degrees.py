"""How operations answer to larger inputs, against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from isoinit._planning.transfer.degrees import Degrees, degrees
from isoinit._planning.verbs import planned
from isoinit._reading.graph import Op


class Around(nn.Module):
    """A function of the outputs of two layers."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Linear(8, 8), nn.Linear(8, 8), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.a(x), self.b(x))


def last(function: Callable[..., torch.Tensor]) -> Op:
    x = torch.zeros(4, 8)
    options = {"method": "auto", "recipe": None, "overrides": None, "keep": "own"}
    return planned(Around(function), x, **options)[1].graph.ops[-1]


CASES: dict[str, tuple[Callable[..., torch.Tensor], Degrees | None]] = {
    "relu": (lambda a, b: F.relu(a), Degrees((1.0,))),
    "leaky": (lambda a, b: F.leaky_relu(a), Degrees((1.0,))),
    "square": (lambda a, b: a**2, Degrees((2.0,))),
    "sum": (lambda a, b: a + b, Degrees((None, None), 1.0)),
    "difference": (lambda a, b: a - 3 * b, Degrees((None, None), 1.0)),
    "product": (lambda a, b: a * b, Degrees((1.0, 1.0))),
    "quotient": (lambda a, b: a / b, Degrees((1.0, -1.0))),
    "maximum": (lambda a, b: torch.maximum(a, b), Degrees((None, None), 1.0)),
    "scaled": (lambda a, b: a * 0.3, Degrees((1.0,))),
    "sign": (lambda a, b: torch.sign(a), Degrees((0.0,))),
    "root": (lambda a, b: torch.sqrt(a.abs()), Degrees((0.5,))),
    "gelu": (lambda a, b: F.gelu(a), None),
    "tanh": (lambda a, b: torch.tanh(a), None),
    "clip": (lambda a, b: a.clamp(-3, 3), None),
    "shifted": (lambda a, b: a + 0.5, None),
    "softmax": (lambda a, b: a.softmax(-1), None),
    "mask": (lambda a, b: a + torch.triu(torch.full((4, 8), -3e38), 1), Degrees((1.0,))),
}


@pytest.mark.parametrize("name", CASES)
def test_powers_are_those_of_the_function(name: str) -> None:
    function, expected = CASES[name]
    found = degrees(last(function))
    assert found == expected
