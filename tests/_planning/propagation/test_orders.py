"""A signal that meets itself in another order meets other units, places or examples."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import isoinit

PLACES = torch.randperm(20, generator=torch.Generator().manual_seed(0))
UNITS = torch.randperm(96, generator=torch.Generator().manual_seed(0))
X = torch.randn(128, 20, 32, generator=torch.Generator().manual_seed(0))
# Each with the second moment of its result for independent elements of unit size.
MEETINGS = {
    "sum with units rolled": (lambda h: h + h.roll(1, -1), 2.0),
    "difference of places": (lambda h: h - h.roll(1, 1), 2.0),
    "sum with places in reverse": (lambda h: h + h.flip(1), 2.0),
    "token shift": (lambda h: 0.5 * h + 0.5 * F.pad(h, (0, 0, 1, -1)), 0.5),
    "product of units in reverse": (lambda h: h * h.flip(-1), 1.0),
    "product with other examples": (lambda h: h * h.flip(0), 1.0),
    "mixed examples": (lambda h: 0.5 * h + 0.5 * h[torch.arange(127, -1, -1)], 0.5),
    "product with units by number": (lambda h: h * h[..., UNITS], 1.0),
    "sum with places by number": (lambda h: h + h[:, PLACES], 2.0),
}


class Between(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.a, self.b, self.function = nn.Linear(32, 96), nn.Linear(96, 64), function

    def forward(self, x):
        return self.b(self.function(self.a(x)))


@pytest.mark.parametrize("name", MEETINGS)
def test_signal_and_gradient_are_as_measured(name):
    """Before, they counted as the same: sums √2 too large, and differences without a gradient."""
    function, second = MEETINGS[name]
    model = Between(function)
    plan = isoinit.plan(model, X)
    assert plan["b.weight"].std * 96**0.5 == pytest.approx(second**-0.5, rel=0.02)
    plan.apply(model, seed=0)
    first, last = isoinit.check(model, X).layers
    assert last.rms == pytest.approx(plan["b.weight"].expected, rel=0.1)
    assert first.gradient / last.gradient == pytest.approx(
        plan["a.weight"].expected_gradient, rel=0.15
    )
