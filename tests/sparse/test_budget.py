"""One budget over layers: the published formulas, whatever is capped, and the total."""

import math

import pytest

from isoinit.errors import ArgumentError
from isoinit.initializers.scale import fans
from isoinit.sparse import spread_budget

LAYERS = {
    "conv": fans.conv((64, 32, 3, 3)),
    "wide": fans.linear((512, 1024)),
    "head": fans.linear((10, 512)),
}


def kept(shares, layers=LAYERS):
    return sum(share * math.prod(layers[name].shape) for name, share in shares.items())


@pytest.mark.parametrize("spread", ["uniform", "er", "erk"])
@pytest.mark.parametrize("density", [0.01, 0.05, 0.3, 0.9, 1.0])
def test_the_budget_is_met(spread, density):
    shares = spread_budget(LAYERS, density, spread)
    assert kept(shares) == pytest.approx(density * kept(dict.fromkeys(LAYERS, 1.0)))
    assert all(0 < share <= 1 for share in shares.values())


@pytest.mark.parametrize(
    ("spread", "conv"),
    [
        ("er", (64 + 32) / (64 * 32)),  # Mocanu et al. 2018, eq. 3: channels alone
        ("erk", (64 + 32 + 3 + 3) / (64 * 32 * 3 * 3)),  # Evci et al. 2020, section 3
    ],
)
def test_shares_are_in_the_published_proportion(spread, conv):
    shares = spread_budget(LAYERS, 0.005, spread)
    wide = (512 + 1024) / (512 * 1024)
    assert shares["conv"] / shares["wide"] == pytest.approx(conv / wide)


def test_what_is_capped_goes_to_the_others():
    shares = spread_budget(LAYERS, 0.3, "er")
    assert shares["head"] == shares["conv"] == 1
    assert shares["wide"] < 0.3


def test_what_would_save_nothing_gets_all():
    shares = spread_budget(LAYERS, 0.05, "er", crossover=0.4)
    assert not any(0.4 < share < 1 for share in shares.values())
    assert kept(shares) == pytest.approx(0.05 * kept(dict.fromkeys(LAYERS, 1.0)))


def test_each_unit_keeps_one():
    layers = {"a": fans.linear((1000, 10)), "b": fans.linear((10, 10_000))}
    shares = spread_budget(layers, 0.02, "er")
    assert shares["a"] >= 0.1


@pytest.mark.parametrize(
    ("density", "spread", "message"),
    [(0.1, "even", "spread='even'"), (0.0001, "er", "one weight for each unit makes")],
)
def test_bad_input(density, spread, message):
    with pytest.raises(ArgumentError, match=message):
        spread_budget(LAYERS, density, spread)
