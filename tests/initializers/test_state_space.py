"""Decay rates and time steps, against their definitions."""

import math

import numpy as np
import pytest

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import DecayRates, TimeSteps
from isoinit.initializers.scale import fans


def test_each_row_decays_at_rates_of_one_to_n():
    rates = np.exp(DecayRates().draw(Stream(0, "a"), fans.vector((5, 16))))
    np.testing.assert_allclose(rates, np.tile(np.arange(1, 17), (5, 1)))


def test_time_steps_are_even_in_the_logarithm():
    bias = TimeSteps().draw(Stream(0, "b"), fans.vector((20_000,)))
    steps = np.log1p(np.exp(bias))
    share = np.log(steps / 1e-3) / math.log(100)
    assert share.min() >= 0
    assert share.max() <= 1
    # A uniform law: of 20,000 values five standard errors of the mean are 0.0102
    assert share.mean() == pytest.approx(0.5, abs=0.0102)
    assert share.std() == pytest.approx(math.sqrt(1 / 12), abs=0.005)


def test_the_moments_are_those_of_what_is_drawn():
    for initializer, layout in ((DecayRates(), (3, 9)), (TimeSteps(), (40_000,))):
        drawn = initializer.draw(Stream(1, "w"), fans.vector(layout))
        assert drawn.mean() == pytest.approx(initializer.mean_for(fans.vector(layout)), abs=0.05)
        assert drawn.std() == pytest.approx(initializer.std_for(fans.vector(layout)), rel=0.02)


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(ArgumentError, match="low < high"):
        TimeSteps(0.1, 0.1)
