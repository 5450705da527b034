"""Expectations on the grid against closed forms."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from isoinit.initializers.scale.mean_field import responses


def relu(z):
    return np.maximum(z, 0)


def test_moments_of_relu():
    """E[ReLU²] = q/2, E[ReLU] = √(q/2π), E[ReLU⁴] = 3q²/2; the slope is 1 half of the time."""
    for second in (0.3, 1.0, 4.0):
        read = responses(relu, second)
        plain, centred, mirrored = (read[way] for way in ("plain", "centred", "mirrored"))
        assert plain.second == pytest.approx(second / 2, rel=1e-9)
        assert centred.second == pytest.approx(second * (1 / 2 - 1 / (2 * math.pi)), rel=1e-9)
        assert mirrored.second == pytest.approx(second, rel=1e-9)
        assert (plain.slope, mirrored.slope) == pytest.approx((0.5, 1.0), rel=1e-9)
        # E[ReLU⁴]/E[ReLU²]² - 1 = 5, of which 2 follow from the mean of z².
        assert (plain.noise, mirrored.noise) == pytest.approx((3, 0), abs=1e-6)
        assert (plain.slope_noise, mirrored.slope_noise) == pytest.approx((1, 0), abs=1e-6)
        assert (plain.growth, plain.slope_growth) == pytest.approx((0.5, 0), abs=1e-6)


def test_growth_with_the_size():
    """sin: E[sin²] = (1 - e^(-2q))/2 and E[cos²] = (1 + e^(-2q))/2."""
    read = responses(np.sin, 0.7)["plain"]
    assert read.growth == pytest.approx(math.exp(-1.4), rel=1e-9)
    assert read.slope_growth == pytest.approx(
        -1.4 * math.exp(-1.4) / (1 + math.exp(-1.4)), rel=1e-5
    )


def test_growth_of_a_variance():
    """φ = z + z²: Var = q + 2q²."""
    read = responses(lambda z: z + z * z, 0.7)["centred"]
    assert read.second == pytest.approx(0.7 + 2 * 0.49, rel=1e-9)
    assert read.growth == pytest.approx(1 + 4 * 0.7, rel=1e-9)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
def test_the_spectrum_is_the_arc_cosine_kernel_of_relu(correlation):
    """E[ReLU(u)ReLU(v)] = (√(1-ρ²) + ρ(π - acos ρ))/2π (Cho & Saul 2009, degree 1)."""
    rho = correlation
    exact = (math.sqrt(1 - rho**2) + rho * (math.pi - math.acos(rho))) / (2 * math.pi)
    spectrum = responses(relu, 1.0)["plain"].spectrum
    found = float(spectrum @ rho ** np.arange(len(spectrum)))
    assert found == pytest.approx(exact, rel=1e-4)
    assert spectrum.sum() == pytest.approx(0.5)


def test_a_jump_shows_in_the_spectrum_and_not_in_the_slope():
    """sign: E[sign(u)sign(v)] = (2/π) asin ρ, whose slope at ρ = 1 is infinite."""
    read = responses(np.sign, 1.0)["plain"]
    found = float(read.spectrum @ 0.5 ** np.arange(len(read.spectrum)))
    assert found == pytest.approx(2 / math.pi * math.asin(0.5), rel=1e-6)
    assert read.slope == 0


@pytest.mark.parametrize("place", [0.1234567, -1.7, math.pi / 3])
def test_kinks_and_jumps_anywhere(place):
    """E[(z-t)²; z > t] = (1 + t²)Φ(-t) - tφ(t), E[1; z > t] = Φ(-t)."""
    kink = responses(lambda z: relu(z - place), 1.0)["plain"].second
    exact = (1 + place**2) * norm.sf(place) - place * norm.pdf(place)
    assert kink == pytest.approx(exact, rel=1e-3)
    jump = responses(lambda z: (z > place) * 1.0, 1.0)["plain"].second
    assert jump == pytest.approx(norm.sf(place), abs=1e-2)


def test_what_is_infinite_has_infinite_moments():
    with np.errstate(over="ignore"):
        assert not math.isfinite(responses(lambda z: np.exp(z**2), 100.0)["plain"].second)
