"""What is predicted to be left of a deep chain, against closed forms and against real layers."""

import math

import numpy as np
import pytest

from isoinit._drawing.streams import Stream
from isoinit.initializers import Centred, Orthogonal
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.criticality import points
from isoinit.initializers.scale.mean_field import responses
from isoinit.initializers.scale.survival import stays, survival


def relu(z):
    return np.maximum(z, 0)


def left(function, second, way, layers, noise=0.0, **options):
    read, point = responses(function, second)[way], points(function, second, **options)[way]
    return survival(read, point, layers, noise)


def test_a_line_keeps_all():
    found = left(lambda z: 3 * z, 1.0, "plain", 1000)
    assert (found.signal, found.trend, found.noise) == pytest.approx((0, 0, 0), abs=1e-4)
    assert found.spread == 1


def test_the_gradient_of_tanh_without_biases_grows_by_its_drift():
    """1.1778 a layer in variance at q = 1."""
    found = left(np.tanh, 1.0, "plain", 30, biased=False)
    assert found.trend == pytest.approx(15 * math.log(1.1778), rel=1e-3)


def test_lengths_of_random_relu_networks_spread_with_depth_over_width():
    """Var[log |h|²] = 5 L/n (Hanin & Rolnick 2018), 2 L/n of which Gaussian weights add."""
    found = left(relu, 1.0, "plain", 40, noise=1 / 256)
    assert found.signal == pytest.approx(2 * math.sqrt(3 * 40 / 256), rel=1e-2)


def test_correlations_under_relu_follow_the_arc_cosine_kernel():
    """ρ' = (√(1-ρ²) + ρ(π - acos ρ))/π, from ρ = 0 (Cho & Saul 2009)."""
    rho = 0.0
    for _ in range(9):
        rho = (math.sqrt(1 - rho**2) + rho * (math.pi - math.acos(rho))) / math.pi
    assert left(relu, 1.0, "plain", 10).spread == pytest.approx(math.sqrt(1 - rho), rel=1e-2)


CASES = [
    (np.tanh, "plain"),
    (np.abs, "centred"),
    (lambda z: 1 / (1 + np.exp(-z)), "centred"),
    (lambda z: np.exp(-z * z), "centred"),
]


@pytest.mark.parametrize(("function", "way"), CASES)
def test_what_is_left_is_what_real_layers_leave(function, way):
    """20 layers of 256: size within four standard deviations, spread within a third."""
    point, n, layers = points(function, 0.5)[way], 256, 20
    rng = np.random.default_rng(0)
    h = rng.standard_normal((32, n))
    for layer in range(layers):
        gain = math.sqrt(0.5 - point.bias if layer == 0 else point.weight)
        kind = Centred(gain * math.sqrt(n / (n - 1))) if layer and way == "centred" else None
        weight = (kind or Orthogonal(gain)).draw(Stream(0, f"{layer}"), fans.linear((n, n)))
        z = h @ weight.T + rng.standard_normal(n) * math.sqrt(point.bias)
        h = function(z)
    found = survival(responses(function, 0.5)[way], point, layers, 1 / n)
    size = math.log(np.square(z).mean() / 0.5) / 2
    assert abs(size) < found.signal
    spread = math.sqrt(z.var(0, ddof=1).mean() / np.square(z).mean())
    assert spread == pytest.approx(found.spread, rel=1 / 3)


def test_the_ends_of_a_chain_count():
    """From q = 0.04 to one: 5. Pairs of |z| + z/10 pass on z/5: 2·1.01/0.04 of their gradient."""
    assert left(np.tanh, 0.04, "plain", 10).ends == pytest.approx(math.log(5))
    found = left(lambda z: np.abs(z) + z / 10, 1.0, "mirrored", 10)
    assert found.ends == pytest.approx(math.log(2 * 1.01 / 0.04) / 2, rel=1e-6)
    assert left(relu, 1.0, "mirrored", 10).ends == pytest.approx(0, abs=1e-9)


def test_what_grows_from_a_larger_size_does_not_stay():
    """A square keeps q = 1 with V_w = 1/3, and 4 becomes 16."""
    for function, stable in [(np.square, False), (np.tanh, True), (relu, True)]:
        found = left(function, 0.5, "plain", 10)
        assert found.stable is stable
        assert stays(function, points(function, 0.5)["plain"], found) is stable


def test_what_is_infinite_is_dead():
    found = left(lambda z: np.exp(2 * np.abs(z)), 1.0, "plain", 30, noise=1 / 64)
    assert not found.lives
