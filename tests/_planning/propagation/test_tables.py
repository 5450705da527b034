"""Rows that are looked up, against torch's own lookups and against closed forms."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit._planning.propagation.tables import clipping

WIDE = 64


def rms(tensor):
    return tensor.detach().square().mean().sqrt().item()


class Looked(nn.Module):
    """Rows of a table, and a linear layer on them."""

    def __init__(self, table, look=None):
        super().__init__()
        self.table, self.map = table, nn.Linear(WIDE, 512)
        self.look = look or (lambda table, index: table(index))

    def forward(self, index):
        self.rows = self.look(self.table, index)
        self.made = self.map(self.rows)
        return self.made


ROWS = torch.randint(0, 200, (64, 6), generator=torch.Generator().manual_seed(0))
embed, bag = nn.functional.embedding, nn.functional.embedding_bag
CLIPPED = {
    "Euclidean": (nn.Embedding(200, WIDE, max_norm=1.0), None),
    "sum of absolutes": (nn.Embedding(200, WIDE, max_norm=7.0, norm_type=1.0), None),
    "largest": (nn.Embedding(200, WIDE, max_norm=0.5, norm_type=float("inf")), None),
    "some rows": (nn.Embedding(200, WIDE, max_norm=8.0), None),
    "no row": (nn.Embedding(200, WIDE, max_norm=30.0), None),
    "by position": (nn.Embedding(200, WIDE), lambda t, i: embed(i, t.weight, None, 2.0, 2.0)),
    "by name": (nn.Embedding(200, WIDE), lambda t, i: embed(i, weight=t.weight, max_norm=2.0)),
    "summed": (nn.EmbeddingBag(200, WIDE, max_norm=1.0, mode="sum"), None),
    "bags by position": (nn.Embedding(200, WIDE), lambda t, i: bag(i, t.weight, None, 1.0)),
}


@pytest.mark.parametrize("name", CLIPPED)
def test_clipped_rows_count_as_they_are_looked_up(name):
    model = Looked(*CLIPPED[name])
    plan = isoinit.plan(model, ROWS)
    plan.apply(model, seed=0)
    model(ROWS)
    assert plan["map.weight"].expected == pytest.approx(rms(model.made), rel=0.1)
    if "bags" not in name:  # of a mean the plan leaves out how many rows it takes
        assert plan["map.weight"].std * rms(model.rows) * WIDE**0.5 == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("limit", [0.5, 6.0, 8.0, 9.0, 40.0])
def test_clipping_is_the_truncated_chi_square(limit):
    # E[min(χ²_n, L²)] = n P(χ²_{n+2} < L²) + L² P(χ²_n > L²), by ∂/∂x of the density of χ².
    half = torch.tensor(limit**2 / 2, dtype=torch.float64)

    def below(degrees):
        return torch.special.gammainc(torch.tensor(degrees / 2, dtype=torch.float64), half).item()

    second = WIDE * below(WIDE + 2) + limit**2 * (1 - below(WIDE))
    # 4,096 rows, whose squared norms have the relative spread √(2/64): an error of 0.3 %, five times.
    assert clipping(0.0, 1.0, WIDE, limit, 2.0) ** 2 == pytest.approx(second / WIDE, rel=0.015)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("offsets", [False, True])
def test_bags_of_rows(mode, offsets):
    table = nn.EmbeddingBag(200, WIDE, mode=mode)
    look = (lambda t, i: t(i.flatten(), torch.arange(0, i.numel(), 6))) if offsets else None
    model = Looked(table, look)
    plan = isoinit.plan(model, ROWS)
    plan.apply(model, seed=0)
    model(ROWS)
    assert plan["map.weight"].expected == pytest.approx(rms(model.made), rel=0.12)


@pytest.mark.parametrize(
    ("look", "padding"),
    [
        (lambda t, i: embed(i, t.weight, 3), 3),
        (lambda t, i: embed(i, t.weight, -1), 199),
        (lambda t, i: torch.embedding(t.weight, i, 5), 5),
        (lambda t, i: torch.embedding(t.weight, i), None),
        (lambda t, i: torch.embedding(t.weight, i, -1), None),
        (lambda t, i: bag(i, t.weight, None, None, 2.0, False, "sum", False, None, False, 7), 7),
    ],
)
def test_the_row_of_padding_by_position(look, padding):
    plan = isoinit.plan(Looked(nn.Embedding(200, WIDE), look), ROWS)
    assert plan["table.weight"].layout.padding == padding
    assert plan["map.weight"].std == pytest.approx(WIDE**-0.25, rel=0.02)  # rows have the same


def sines(count, width):
    """Sines and cosines of places (Vaswani et al. 2017, section 3.5)."""
    phase = torch.arange(count)[:, None] * 1e4 ** (-torch.arange(width // 2) / (width // 2))
    return torch.cat([phase.sin(), phase.cos()], dim=1)


class Places(nn.Module):
    """A table of places beside a signal, and one layer on the mean over the places."""

    def __init__(self, kind, count=32):
        super().__init__()
        table = sines(count, WIDE)
        if kind == "buffer":
            self.register_buffer("table", table)
        else:
            self.table = nn.Embedding(count, WIDE)
            self.table.weight.data.copy_(table)
            self.table.requires_grad_(kind != "frozen")
        self.map = nn.Linear(WIDE, 512)

    def forward(self, x):
        places = torch.arange(x.shape[1])
        rows = self.table(places) if isinstance(self.table, nn.Module) else self.table[: x.shape[1]]
        self.made = self.map((x + rows).mean(1))
        return self.made


@pytest.mark.parametrize("kind", ["buffer", "frozen", "own"])
def test_rows_of_a_table_of_places_are_alike(kind):
    x = torch.randn(64, 32, WIDE, generator=torch.Generator().manual_seed(0))
    model = Places(kind)
    plan = isoinit.plan(model, x)
    plan.apply(model, seed=0)
    model(x)
    assert plan["map.weight"].expected == pytest.approx(rms(model.made), rel=0.15)
    shared = sines(32, WIDE).mean(0).square().mean().sqrt().item()
    assert shared > 3 * 32**-0.5  # independent rows would leave a third of that
