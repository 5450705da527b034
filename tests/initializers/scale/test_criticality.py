"""The edge of chaos against values computed elsewhere, by fine quadrature."""

import numpy as np
import pytest

from isoinit.initializers.scale.criticality import SIZES, critical, drift


def gelu(z):
    from math import erf

    return z * np.array([0.5 * (1 + erf(v / np.sqrt(2))) for v in z])


def silu(z):
    return z / (1 + np.exp(-z))


def relu(z):
    return np.maximum(z, 0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# E[φ'²]/E[φ²] at q = 1.
DRIFTS = [(relu, 1.0), (np.tanh, 1.1778), (gelu, 1.0720), (silu, 1.0666), (sigmoid, 0.1528)]


@pytest.mark.parametrize(("function", "expected"), DRIFTS)
def test_what_a_layer_that_keeps_the_signal_does_to_the_gradient(function, expected):
    assert drift(function) == pytest.approx(expected, abs=1e-4)


def test_tanh_rests_where_the_papers_say():
    point = critical(np.tanh)
    assert (point.second, point.weight, point.bias) == pytest.approx(
        (0.25, 1.3940, 0.0081), abs=1e-4
    )


@pytest.mark.parametrize("function", [np.tanh, np.sin, lambda z: z / (1 + np.abs(z))])
def test_a_critical_point_is_a_fixed_point_of_unit_slope(function):
    point = critical(function)
    z = np.random.default_rng(0).standard_normal(2_000_000) * np.sqrt(point.second)
    slope = (function(z + 1e-4) - function(z - 1e-4)) / 2e-4
    # 2 million samples: five standard errors of these means are below 0.5 %
    assert point.weight * np.mean(slope**2) == pytest.approx(1, abs=5e-3)
    kept = point.weight * np.mean(function(z) ** 2) + point.bias
    assert kept == pytest.approx(point.second, rel=5e-3)


def test_relu_needs_no_bias_at_any_size():
    point = critical(relu)
    assert point.weight == pytest.approx(2, rel=1e-3)
    assert point.bias == 0
    assert point.second in SIZES


@pytest.mark.parametrize("function", [sigmoid, lambda z: np.logaddexp(0, z)])
def test_what_has_a_large_mean_has_no_critical_point(function):
    assert critical(function) is None  # σ_b² would be negative


@pytest.mark.parametrize("function", [gelu, silu, lambda z: relu(z) ** 2])
def test_an_unstable_point_is_no_place_to_stay(function):
    assert critical(function) is None
