"""Gains against closed forms, against mpmath's quadrature, and against the published table."""

import math
import time

import mpmath
import numpy as np
import pytest
from scipy.special import erf, expit, ndtr
from scipy.stats import norm

from isoinit.errors import ArgumentError
from isoinit.initializers.scale import activation_gain, function_gain
from isoinit.initializers.scale.gains import ACTIVATIONS, expectation

# E[φ(z)²] for standard normal z, in closed form. φ below is the normal density, Φ its integral.
MOMENTS = {
    "linear": 1.0,
    "relu": 1 / 2,
    "leaky_relu": (1 + 0.01**2) / 2,
    "selu": 1.0,  # the fixed point of mean 0 and variance 1 that defines it
    # Williams 1997, eq. 11 at Σ = 1: E[erf(z)²] = (2/π) asin(2/3).
    "erf": 2 / math.pi * math.asin(2 / 3),
    # E[z·g] = E[g'] (Stein) with g = zΦ²: E[z²Φ²] = E[Φ²] + E[2zΦφ]. The first is 1/3, for Φ(z) is
    # uniform; once more with g = 2Φφ, A = E[2zΦφ] = E[2φ²] - A, so A = E[φ²] = 1/(2π√3).
    "gelu": 1 / 3 + 1 / (2 * math.pi * math.sqrt(3)),
    # E[e^{az}; z < 0] = e^{a²/2} Φ(-a): E[(e^z - 1)²; z < 0] = e²Φ(-2) - 2e^{1/2}Φ(-1) + 1/2.
    "elu": 1 + math.e**2 * norm.cdf(-2) - 2 * math.sqrt(math.e) * norm.cdf(-1),
    "sin": (1 - math.exp(-2)) / 2,
    # E[z²; |z| < 1] = 1 - 2Φ(-1) - 2φ(1), and 1 beyond.
    "hardtanh": 1 - 2 * norm.pdf(1),
    "relu6": norm.cdf(6) - 0.5 - 6 * norm.pdf(6) + 36 * norm.cdf(-6),
}

SPECIAL = {
    "tanh": mpmath.tanh,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "gelu": lambda z: z * mpmath.ncdf(z),
    "gelu_tanh": lambda z: (
        z / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (z + 0.044715 * z**3)))
    ),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "mish": lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))),
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "celu": lambda z: z if z > 0 else mpmath.expm1(z),
    "hardswish": lambda z: z * min(max(z + 3, 0), 6) / 6,
    "hardsigmoid": lambda z: min(max(z + 3, 0), 6) / 6,
}

# The rule book's table, computed apart from this code: gain to six digits.
TABLE = {
    "relu": 1.414214,
    "tanh": 1.592537,
    "erf": 1.467167,
    "gelu": 1.533530,
    "silu": 1.676532,
    "mish": 1.486848,
    "elu": 1.245198,
    "selu": 1.000000,
    "sigmoid": 1.846229,
    "softplus": 1.041867,
}


def test_every_activation_is_checked():
    assert set(MOMENTS) | set(SPECIAL) == {*ACTIVATIONS, "linear", "relu", "leaky_relu"}


@pytest.mark.parametrize("name", MOMENTS)
def test_closed_forms(name):
    assert activation_gain(name) == pytest.approx(MOMENTS[name] ** -0.5, rel=1e-10)


@pytest.mark.parametrize("name", SPECIAL)
def test_quadrature_in_thirty_digits(name):
    with mpmath.workdps(30):
        moment = mpmath.quad(
            lambda z: SPECIAL[name](z) ** 2 * mpmath.npdf(z), [-14, -6, -3, 0, 3, 6, 14]
        )
        expected = float(1 / mpmath.sqrt(moment))
    assert activation_gain(name) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", TABLE)
def test_published_table(name):
    assert activation_gain(name) == pytest.approx(TABLE[name], abs=5.1e-7)


@pytest.mark.parametrize("slope", [0.0, 0.25, -0.5, 1.0, math.sqrt(5)])
def test_leaky_slopes(slope):
    assert activation_gain("leaky_relu", slope) == pytest.approx(math.sqrt(2 / (1 + slope**2)))


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_alpha_of_elu_and_celu(alpha):
    below = math.e**2 * norm.cdf(-2) - 2 * math.sqrt(math.e) * norm.cdf(-1) + 0.5
    assert activation_gain("elu", alpha) == pytest.approx(
        (0.5 + alpha**2 * below) ** -0.5, rel=1e-10
    )
    # CELU: α(e^{z/α} - 1), so e^{2z/α} and e^{z/α} in place of e^{2z} and e^z.
    twice, once = (math.exp(k * k / 2) * norm.cdf(-k) for k in (2 / alpha, 1 / alpha))
    moment = 0.5 + alpha**2 * (twice - 2 * once + 0.5)
    assert activation_gain("celu", alpha) == pytest.approx(moment**-0.5, rel=1e-10)


# ---------------------------------------------------------------- any function


@pytest.mark.parametrize("power", range(9))
def test_moments_of_the_normal(power):
    """E[z^2k] = 1·3·5…(2k-1), odd ones 0."""
    expected = 0 if power % 2 else math.prod(range(1, power, 2))
    assert expectation(lambda z: z**power) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("steep", [0.01, 1.0, 50.0, 1e4, 1e8])
def test_a_step_as_steep_as_can_be(steep):
    """Williams 1997, eq. 11: E[erf(kz)²] = (2/π) asin(2k²/(1 + 2k²)), and so for Φ = (1 + erf)/2.

    asin(x/(1 + x)) = atan(x/√(1 + 2x)), which keeps its digits near 1.
    """

    def asin(x):
        return math.atan(x / math.sqrt(1 + 2 * x))

    moment = 2 / math.pi * asin(2 * steep**2)
    assert function_gain(lambda z: erf(steep * z)) == pytest.approx(moment**-0.5, rel=1e-10)
    moment = 1 / 4 + asin(steep**2) / (2 * math.pi)
    assert function_gain(lambda z: ndtr(steep * z)) == pytest.approx(moment**-0.5, rel=1e-10)


STEEP = {
    "tanh(50z)": (lambda z: np.tanh(50 * z), lambda z: mpmath.tanh(50 * z), 0),
    "tanh(10⁴(z + 1.234))": (
        lambda z: np.tanh(1e4 * (z + 1.234)),
        lambda z: mpmath.tanh(10_000 * (z + mpmath.mpf("1.234"))),
        "-1.234",
    ),
    "tanh(50(z - 0.3))": (
        lambda z: np.tanh(50 * (z - 0.3)),
        lambda z: mpmath.tanh(50 * z - 15),
        0.3,
    ),
    "sigmoid(100z)": (lambda z: expit(100 * z), lambda z: 1 / (1 + mpmath.exp(-100 * z)), 0),
    "silu(100z)": (lambda z: z * expit(100 * z), lambda z: z / (1 + mpmath.exp(-100 * z)), 0),
    "softplus(100z)": (lambda z: np.logaddexp(0, 100 * z), lambda z: softplus(100 * z), 0),
}


def softplus(z):
    return mpmath.log1p(mpmath.exp(z))


@pytest.mark.parametrize("name", STEEP)
def test_a_steep_function(name):
    """Against 30 digits, with the steep place cut into panels of its own."""
    function, exact, place = STEEP[name]
    with mpmath.workdps(30):
        near = [
            mpmath.mpf(place) + sign * mpmath.mpf(10) ** -k for k in range(5) for sign in (-1, 1)
        ]
        cuts = sorted([-14, -5, mpmath.mpf(place), 5, 14, *near])
        moment = mpmath.quad(lambda z: exact(z) ** 2 * mpmath.npdf(z), cuts)
        expected = float(1 / mpmath.sqrt(moment))
    assert function_gain(function) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("edge", [0.5, 0.3, 1.0])
def test_two_kinks(edge):
    """Soft shrinkage: E[(|z| - λ)²; |z| > λ] = 2((1 + λ²)Φ(-λ) - λφ(λ))."""
    moment = 2 * ((1 + edge**2) * norm.sf(edge) - edge * norm.pdf(edge))
    found = function_gain(lambda z: np.sign(z) * np.maximum(np.abs(z) - edge, 0))
    assert found == pytest.approx(moment**-0.5, rel=1e-10)


@pytest.mark.parametrize("place", [0.0, 0.1234567, -1.7, math.pi / 3, 4.2])
def test_a_kink_anywhere(place):
    """E[(z-t)²; z > t] = (1 + t²)Φ(-t) - tφ(t)."""
    moment = (1 + place**2) * norm.sf(place) - place * norm.pdf(place)
    found = function_gain(lambda z: np.maximum(z - place, 0))
    assert found == pytest.approx(moment**-0.5, rel=1e-9)


@pytest.mark.parametrize("place", [0.0, 0.1234567, -1.7, math.pi / 3, 4.2])
def test_a_jump_anywhere(place):
    """E[1; z > t] = Φ(-t)."""
    found = function_gain(lambda z: (z > place).astype(float))
    assert found == pytest.approx(norm.sf(place) ** -0.5, rel=1e-9)


def test_many_jumps():
    """A rounded value: E[round(4z)²]/16, a sum over the steps."""
    k = np.arange(1, 60)
    expected = 2 * np.sum(k**2 * (norm.sf((k - 0.5) / 4) - norm.sf((k + 0.5) / 4))) / 16
    assert expectation(lambda z: (np.round(4 * z) / 4) ** 2) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (np.reciprocal, "inf"),
        (np.zeros_like, "0"),
        (lambda z: np.full_like(z, np.nan), "nan"),
        (lambda z: np.full_like(z, np.inf), "inf"),
        (lambda z: np.where(z > 0.3, np.inf, z), "inf"),
        (
            lambda z: np.exp(z**2),
            ".*",
        ),  # E[exp(2z²)] diverges: the sum between bounds means nothing
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_gain_exists(function, found):
    with pytest.raises(
        ArgumentError, match=rf"the gate has no finite positive .* \(found ({found}|nan) between"
    ):
        function_gain(function, "the gate")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ArgumentError, match=r"'gelo'.*gelu.*isoinit\.gain"):
        activation_gain("gelo")


def test_a_jump_is_told_from_a_pole():
    assert expectation(np.sign) == pytest.approx(0, abs=1e-12)
    assert expectation(lambda z: np.sign(z - 0.123)) == pytest.approx(
        2 * norm.sf(0.123) - 1, abs=1e-12
    )
    assert expectation(lambda z: 1 / np.square(z - 0.123)) == np.inf


@pytest.mark.parametrize(
    "function",
    [
        lambda z: np.sin(1e6 * z),
        lambda z: np.random.default_rng(z.size).standard_normal(z.shape),
        lambda z: 1e-17 * np.random.default_rng(z.size).standard_normal(z.shape),
        lambda z: np.sin(1e5 * np.sin(1e5 * z)),
        lambda z: z * 1e4 % 1,
    ],
)
def test_every_quadrature_ends(function):
    """What never agrees, as rounding noise, must not be halved without end: 0.1 s here."""
    start = time.process_time()
    expectation(lambda z: function(z) ** 2)
    assert time.process_time() - start < 0.5


def test_a_wave_too_fast_to_follow_is_sampled():
    """E[sin²] = 1/2."""
    assert function_gain(lambda z: np.sin(1e6 * z)) == pytest.approx(math.sqrt(2), rel=1e-6)
