"""Which weights a chain rests on: published values, and what each choice is for."""

import numpy as np
import pytest

from isoinit._reading.chain_points import SIZES, Joint, is_odd, points_for, values_of

ALL = ("plain", "centred", "mirrored")


def joint(function, count=29, ways=ALL, biased=True):
    return Joint("it", ways, biased, count, values_of(function), function)


def rest(function, width=256, **options):
    found = points_for((joint(function, **options),), 1 / width)
    return found and found[0]


def relu(z):
    return np.maximum(z, 0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("function", [relu, lambda z: np.logaddexp(0, z), lambda z: z * sigmoid(z)])
def test_a_linear_odd_part_is_mirrored_and_loses_nothing(function):
    point = rest(function)
    assert (point.way, point.second, point.bias) == ("mirrored", 1.0, 0.0)
    assert (point.weight, point.slope) == pytest.approx((1, 1), abs=1e-6)


def test_tanh_rests_on_the_edge_of_chaos():
    point = rest(np.tanh, ways=("plain", "centred"))
    assert (point.way, point.second) == ("plain", 0.25)
    assert (point.weight, point.bias) == pytest.approx((1.3940, 0.0081), abs=1e-4)


@pytest.mark.parametrize("function", [lambda z: np.exp(-z * z), lambda z: np.sqrt(np.abs(z) + 0.1)])
def test_an_even_function_with_a_mean_is_centred(function):
    point = rest(function)
    assert point.way == "centred"
    assert point.bias > 0


def test_without_biases_a_critical_point_that_needs_them_is_not_chosen():
    assert rest(lambda z: np.exp(-z * z), biased=False) is None
    point = rest(np.tanh, ways=("plain", "centred"), biased=False)
    assert point.bias == 0
    assert point.slope ** (29 / 2) < 3.3  # and the gradient stays


@pytest.mark.parametrize(
    "function",
    [np.sign, np.floor, np.log, lambda z: z**3, lambda z: np.exp(z**2), np.zeros_like],
)
def test_what_nothing_keeps_alive_has_no_point(function):
    assert rest(function, count=49, width=64) is None


def test_a_fast_function_rests_at_the_size_that_it_is_made_for():
    """sin(5 z) at q is sin(z) at 25 q."""
    point = rest(lambda z: np.sin(5 * z), ways=("plain", "centred"))
    assert point.second < min(SIZES)
    assert point.slope == pytest.approx(1, abs=0.1)


def test_narrow_layers_are_predicted_to_spread():
    """ReLU with plain orthogonal weights: Var[log q] = 3·L/n, above four at 49 layers of 32."""
    assert rest(relu, count=49, ways=("plain",), width=4096) is not None
    assert rest(relu, count=49, ways=("plain",), width=32) is None


def test_all_functions_of_a_chain_rest_at_one_size():
    functions = [np.tanh, relu, np.sin]
    joints = [joint(f, 10, ("plain", "centred") if is_odd(f) else ALL) for f in functions]
    found = points_for(tuple(joints), 1 / 256)
    assert len({point.second for point in found}) == 1
    assert {point.way for point in found} in ({"plain", "mirrored"}, {"plain", "centred"})


def test_odd_functions():
    assert is_odd(np.tanh)
    assert not is_odd(relu)
