"""Logarithms and exponentials of fixed bits, against mpmath."""

import mpmath
import numpy as np
import pytest

from isoinit._drawing.logarithms import exp, log, log1mexp

rng = np.random.default_rng(0)
POSITIVE = np.concatenate(
    [np.arange(1.0, 65), rng.uniform(0.5, 1.6, 500), 10 ** rng.uniform(-300, 300, 300)]
)
STEPS = 10 ** rng.uniform(-6, 2.5, 500)
CASES = {
    "log": (log, POSITIVE, mpmath.log),
    "exp": (
        exp,
        np.concatenate([rng.uniform(-12, 3, 500), rng.uniform(-700, 700, 300)]),
        mpmath.exp,
    ),
    "log1mexp": (log1mexp, STEPS, lambda x: mpmath.log(-mpmath.expm1(-x))),
}


@pytest.mark.parametrize("name", CASES)
def test_the_error_is_below_one_and_a_half_units_in_the_last_place(name):
    function, given, exact = CASES[name]
    with mpmath.workprec(2000):  # log(1 - e^-300) is of this precision
        for x, found in zip(given, function(given), strict=True):
            expected = exact(mpmath.mpf(float(x)))
            off = abs(mpmath.mpf(float(found)) - expected)
            if name == "log1mexp" and x > 0.3:  # 1 - e^-x is rounded before: an absolute error
                assert off < 4e-16, x
            else:
                assert off <= 1.5 * np.spacing(abs(float(expected))), x


def test_exact_ones():
    assert log(1.0) == 0
    assert exp(0.0) == 1
    assert log(np.array([2.0, 4.0])).tolist() == [np.log(2), 2 * np.log(2)]
