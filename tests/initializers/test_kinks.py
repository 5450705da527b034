"""Directions of unit length, and biases that follow from them, piece by piece."""

import math

import numpy as np
import pytest
from scipy import stats

from isoinit import KinkBias, Normal, Spherical
from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import Initializer
from isoinit.initializers.scale import fans

LAYOUT = fans.linear((2000, 2))


def weight(initializer, layout=LAYOUT, seed=0):
    return initializer.draw(Stream(seed, "weight"), layout)


def biases(kinks, units=2000, seed=0):
    return kinks.draw(Stream(seed, "bias"), fans.vector((units,)))


def test_units_are_directions_uniform_over_the_circle():
    rows = weight(Spherical(gain=3.0))
    assert np.allclose(np.linalg.norm(rows, axis=1), 3, rtol=1e-12)
    angles = np.arctan2(rows[:, 1], rows[:, 0])
    # False alarms: one seed in 10⁴, and the seed is fixed.
    assert stats.kstest(angles, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-4


def test_of_one_input_half_of_the_units_look_each_way():
    rows = weight(Spherical(), fans.linear((1000, 1)))
    assert set(np.unique(rows)) == {-1.0, 1.0}
    assert abs((rows > 0).sum() - 500) < 4 * math.sqrt(250)


def test_sizes_divide_the_inputs():
    rows = weight(Spherical(gain=2.0, sizes=(10.0, 0.5)))
    assert np.allclose(np.linalg.norm(rows * [10.0, 0.5], axis=1), 2)
    made = Spherical(gain=2.0, sizes=(10.0, 0.5))
    assert np.sqrt(np.square(rows).mean()) == pytest.approx(made.std_for(LAYOUT), rel=0.05)
    assert np.square(rows).mean(0) ** 0.5 == pytest.approx(
        [made.of_input(LAYOUT, i) for i in range(2)], rel=0.05
    )


@pytest.mark.parametrize("base", [Spherical(0.7, (4.0, 0.25)), Normal(std=0.3)])
def test_kinks_lie_within_reach_of_the_centre(base):
    kinks = KinkBias(base, "weight", LAYOUT, (3.0, -1.0), (4.0, 0.25), reach=2.0)
    rows, bias = weight_of(base), biases(kinks)
    lengths = np.linalg.norm(rows * kinks.sizes, axis=1)
    places = (bias + rows @ np.array(kinks.centre)) / lengths  # of the kink, from the centre
    assert stats.kstest(places, stats.uniform(-2, 4).cdf).pvalue > 1e-4
    assert bias.std() == pytest.approx(kinks.std_for(fans.vector((2000,))), rel=0.1)
    inputs = np.random.default_rng(0).normal(size=(500, 2)) * [2.0, 0.5] + [3.5, -1.0]
    made = np.square((inputs - kinks.centre) @ rows.T).mean()
    assert made == pytest.approx(kinks.around_centre((3.5, -1.0), (2.0, 0.5)), rel=0.2)


def weight_of(base):
    out = np.empty(4000)
    base.fill_piece(out, Stream(0, "weight"), LAYOUT, Piece.whole(LAYOUT.shape))
    return out.reshape(LAYOUT.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_piece_is_that_of_the_whole(dtype):
    kinks = KinkBias(Spherical(), "weight", LAYOUT, (1.0, 2.0), (1.0, 1.0))
    whole, piece = np.empty(2000, dtype), np.empty(70, dtype)
    kinks.fill(whole, Stream(5, "bias"), fans.vector((2000,)))
    kinks.fill(piece, Stream(5, "bias"), fans.vector((2000,)), 900)
    assert np.array_equal(piece, whole[900:970])


def test_both_come_back_from_plain_data():
    kinks = KinkBias(Spherical(0.5, (2.0, 1.0)), "0.weight", LAYOUT, (1.0, 2.0), (2.0, 1.0))
    assert Initializer.from_dict(kinks.to_dict()) == kinks
    lists = {**Spherical(0.5, (2.0, 1.0)).to_dict(), "sizes": [2.0, 1.0]}  # as JSON has it
    assert Initializer.from_dict(lists) == Spherical(0.5, (2.0, 1.0))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Spherical(0.0), "gain"),
        (lambda: Spherical(1.0, (1.0, 0.0)), "sizes"),
        (lambda: Spherical(1.0, ("a",)), "sizes"),
        (lambda: Spherical(1.0, (1.0,)).std_for(LAYOUT), "1 inputs"),
        (lambda: Spherical().std_for(fans.vector((4,))), "vector"),
        (lambda: KinkBias(Spherical(), "w", LAYOUT, (0.0,), (1.0, 1.0)), "each of the 2 inputs"),
        (lambda: KinkBias(Spherical(), "w", LAYOUT, (0.0, math.nan), (1.0, 1.0)), "centre"),
        (lambda: KinkBias(Spherical(), "w", LAYOUT, (0.0, 0.0), (1.0, 1.0), 0.0), "reach"),
        (
            lambda: KinkBias(Spherical(), "w", LAYOUT, (0.0, 0.0), (1.0, 1.0)).std_for(
                fans.vector((3,))
            ),
            "2000 biases",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, said):
    with pytest.raises(ArgumentError, match=said):
        make()
