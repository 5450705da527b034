"""Tables that are interpolated between the places that numbers are rounded to."""

import pytest
import torch
from torch import nn

import isoinit


class Grid(nn.Module):
    """Features of the corners of a cell, by their distances, and two layers on them."""

    def __init__(self, cells=16, width=8):
        super().__init__()
        self.table, self.cells = nn.Embedding(cells + 1, width), cells
        self.net = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 3))

    def features(self, x):
        place = x[:, 0] * self.cells
        low = place.floor()
        share = (place - low)[:, None]
        return self.table(low.long()) * (1 - share) + self.table(low.long() + 1) * share

    def forward(self, x):
        return self.net(self.features(x))


class Nearest(Grid):
    """The row of the cell alone: a number that is taken for a category."""

    def features(self, x):
        return self.table((x[:, 0] * self.cells).long())


class Learned(Grid):
    """The shares are made by a layer."""

    def __init__(self):
        super().__init__()
        self.share = nn.Linear(1, 1)

    def features(self, x):
        return self.table((x[:, 0] * self.cells).long()) * self.share(x)


X = torch.rand(256, 1, generator=torch.Generator().manual_seed(0)) * 0.99


@pytest.mark.parametrize(("kind", "rule"), [(Grid, "grid"), (Nearest, "embedding")])
def test_only_rows_that_are_interpolated_are_a_grid(kind, rule):
    assert isoinit.plan(kind(), X)["table.weight"].rule == rule


def test_shares_that_a_layer_makes_are_no_grid():
    assert isoinit.plan(Learned(), X)["table.weight"].rule == "embedding"


def test_a_grid_starts_near_zero_and_what_reads_it_is_sized_for_a_grown_one():
    model = Grid()
    plan = isoinit.plan(model, X)
    assert plan["table.weight"].initializer == isoinit.Uniform(-1e-4, 1e-4)
    # Of two rows of unit size with shares s and 1 - s, uniform: E[s² + (1 - s)²] = 2/3.
    assert plan["net.0.weight"].std == pytest.approx((2 / 3 * 8) ** -0.5, rel=0.1)
    plan.apply(model, seed=0)
    made = model.net[0](model.features(X)).detach().square().mean().sqrt().item()
    assert plan["net.0.weight"].expected == pytest.approx(made, rel=0.3)
    assert not [f for f in isoinit.check(model, X, plan=plan).findings if f.severity == "error"]


def test_calibration_leaves_a_grid_small():
    model = Grid()
    plan = isoinit.plan(model, X)
    calibrated = plan.calibrate(model, X)
    assert calibrated["net.0.weight"].std == pytest.approx(plan["net.0.weight"].std, rel=0.3)


class Cast(Grid):
    """The number is rounded by a cast."""

    def features(self, x):
        place = x[:, 0] * self.cells
        low = place.long()
        share = (place - low)[:, None]
        return self.table(low) * (1 - share) + self.table(low + 1) * share


class Words(nn.Module):
    """Rows of words, counted from one, without those of the padding."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(60, 16), nn.Linear(16, 3)

    def forward(self, ids):
        there = (ids != 0).float()[..., None]
        return self.head((self.table(ids.long() + 1) * there).sum(1) / there.sum(1).clamp(min=1))


def test_a_cast_rounds_and_a_mask_is_no_share():
    assert isoinit.plan(Cast(), X)["table.weight"].rule == "grid"
    assert isoinit.plan(Words(), torch.randint(50, (8, 6)))["table.weight"].rule == "embedding"
