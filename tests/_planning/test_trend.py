"""The median slope of a size over layers: of all pairs, and of many layers by as many pairs as fit."""

from statistics import median

import numpy as np
import pytest

from isoinit._planning.trend import EXACT, median_slope


def test_it_is_the_median_over_all_pairs():
    rng = np.random.default_rng(0)
    for count in (2, 3, 4, 51):
        values, places = (
            rng.normal(size=count).tolist(),
            np.cumsum(rng.integers(1, 4, count)).tolist(),
        )
        pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
        slopes = [(values[j] - values[i]) / (places[j] - places[i]) for i, j in pairs]
        assert median_slope(values, places) == median(slopes)


@pytest.mark.parametrize("period", [2, 3, 8])
def test_of_many_points_those_that_alternate_count_alike(period):
    # All pairs of 20,000 points would take gigabytes. One of a few kinds of layers is much larger.
    count = 20 * EXACT
    values = 0.01 * np.arange(count) + 5.0 * (np.arange(count) % period == 0)
    assert median_slope(values.tolist()) == pytest.approx(0.01, rel=0.01)
