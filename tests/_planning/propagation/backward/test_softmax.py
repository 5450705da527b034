"""The moments of softmax weights against sampled scores."""

import numpy as np
import pytest

from isoinit._planning.propagation.backward.softmax import moments


def sampled(count, spread, draws=20_000):
    """Both moments of the weights of one query, from Gaussian scores."""
    scores = np.random.default_rng(0).standard_normal((draws, count)) * spread**0.5
    weights = np.exp(scores)
    weights /= weights.sum(1, keepdims=True)
    even = np.square(weights).sum(1)
    # Σ_j a_j² ((1 - a_j)² + Σ_{l≠j} a_l²) for independent gradients of size one
    passed = even - 2 * (weights**3).sum(1) + even**2
    return even.mean(), passed.mean()


@pytest.mark.parametrize("count", [2, 5, 17, 128])
@pytest.mark.parametrize("spread", [0.0, 0.25, 1.0])
def test_moments_of_gaussian_scores(count, spread):
    found = moments(count, spread, causal=False)
    assert found == pytest.approx(sampled(count, spread), rel=0.15)


def test_a_causal_mask_averages_over_lengths():
    each = [sampled(count, 1.0, 4000) for count in range(1, 25)]
    assert moments(24, 1.0, causal=True) == pytest.approx(np.mean(each, 0), rel=0.1)


def test_one_key_passes_nothing():
    assert moments(1, 1.0, causal=False) == pytest.approx((1, 0))


def test_even_weights_share():
    assert moments(8, 0.0, causal=False) == pytest.approx((1 / 8, 7 / 64))


def test_scores_beyond_all_measure_stay_finite():
    even, passed = moments(1000, 1e30, causal=True)
    assert 0 < even <= 1
    assert 0 <= passed <= even
