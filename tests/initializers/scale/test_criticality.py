"""Critical points against the papers, and against sums over samples."""

import numpy as np
import pytest

from isoinit.initializers.scale.criticality import points


def silu(z):
    return z / (1 + np.exp(-z))


def relu(z):
    return np.maximum(z, 0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_tanh_rests_where_the_papers_say():
    point = points(np.tanh, 0.25)["plain"]
    assert (point.weight, point.bias, point.slope) == pytest.approx((1.3940, 0.0081, 1), abs=1e-4)


@pytest.mark.parametrize("way", ["plain", "centred"])
@pytest.mark.parametrize("function", [np.tanh, np.abs, silu, lambda z: np.exp(-z * z)])
def test_a_point_is_fixed_and_its_slope_is_at_most_one(function, way):
    second = 0.5
    point = points(function, second)[way]
    z = np.random.default_rng(0).standard_normal(200_000) * np.sqrt(second)
    slope = (function(z + 1e-4) - function(z - 1e-4)) / 2e-4
    # 200,000 samples: five standard errors of these means are below 3 %
    assert point.weight * np.mean(slope**2) == pytest.approx(point.slope, rel=3e-2)
    read = function(z) - (np.mean(function(z)) if way == "centred" else 0)
    kept = point.weight * np.mean(read**2) + point.bias
    assert kept == pytest.approx(second, rel=3e-2)
    assert point.slope <= 1 + 1e-4
    assert point.bias >= 0


@pytest.mark.parametrize("second", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    "function",
    [np.tanh, relu, np.abs, silu, sigmoid, np.cos, lambda z: np.logaddexp(0, z), np.square],
)
def test_centred_weights_have_a_critical_point_for_every_continuous_function(function, second):
    """Gaussian Poincaré: Var[φ] ≤ q E[φ'²], so that V_b is not negative at χ = 1."""
    point = points(function, second)["centred"]
    assert point.slope == pytest.approx(1, abs=2e-4)
    assert point.bias >= 0


def test_hermite_polynomials_take_poincares_inequality_as_far_as_it_goes():
    """Var = q E[φ'²] for a line, and half of it for z² - 1."""
    line, square = (points(f, 1.0)["centred"] for f in (lambda z: 3 * z + 2, np.square))
    assert (line.weight, line.bias) == pytest.approx((1 / 9, 0), abs=1e-6)
    assert (square.weight, square.bias) == pytest.approx((1 / 4, 1 / 2), abs=1e-6)


def test_relu_needs_no_bias_at_any_size():
    for second in (0.25, 1.0):
        point = points(relu, second)["plain"]
        assert point.weight == pytest.approx(2, rel=1e-4)
        assert point.bias == 0


@pytest.mark.parametrize("function", [sigmoid, lambda z: np.logaddexp(0, z)])
def test_what_has_a_large_mean_loses_the_gradient_with_plain_weights(function):
    assert points(function, 1.0)["plain"].slope < 0.5  # V_b would be negative at χ = 1


def test_layers_without_biases_keep_the_signal_alone():
    """q E[φ'²]/E[φ²] = 1.1778 for tanh at q = 1, computed elsewhere."""
    point = points(np.tanh, 1.0, biased=False)["plain"]
    assert (point.bias, point.slope) == pytest.approx((0, 1.1778), abs=1e-4)


@pytest.mark.parametrize("function", [lambda z: np.sign(z - 0.123), np.floor, np.zeros_like])
def test_a_step_function_has_no_point(function):
    assert points(function, 1.0) == {}


def test_an_even_function_has_no_mirrored_point():
    even = points(lambda z: np.logaddexp(0, z) * -np.logaddexp(0, -z), 1.0)
    assert even.keys() == {"plain", "centred"}


def test_the_slope_is_that_beside_a_jump():
    """φ = 2z + 5·[z > 0.123]: the gradient's slope is 2 at all places."""
    found = points(lambda z: 2 * z + 5 * (z > 0.123), 1.0, biased=False)["plain"]
    assert found.slope / found.weight == pytest.approx(4, rel=1e-6)
