"""Derivatives of the elementwise primitives, as NumPy functions.

They are exact where there is a derivative. Where there is none (a tie of `max`, an end of `clamp`,
`abs` at 0) they are JAX's. A custom derivative is not seen from the primitives: `jax.nn.relu` has the
derivative 0 at 0, and the `max` inside it has 1/2.

Most take less than 1 ms for 65536 numbers. `jax.vjp` takes 30 to 400 ms at the first call for every
primitive and shape, since XLA compiles it, and 1 to 6 ms at later ones (on one core).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, pi, sqrt
from typing import Any

import numpy as np

from isoinit._reading.graph import ReplayError
from isoinit._reading.jax.elementwise import Params, Values, integer_pow, sigmoid
from isoinit._reading.jax.elementwise import values as value_of

# What is constant between its jumps.
JUMPS = frozenset(
    "and ceil clz eq eq_to floor ge gt is_finite le le_to lt lt_to ne not or population_count round"
    " shift_left shift_right_arithmetic shift_right_logical sign stop_gradient xor".split()
)


def _tie(mine: Values, other: Values, made: Values) -> Values:
    """Return the share of an operand of `max` or `min` in the result: a half at a tie."""
    return np.where(mine == made, np.where(other == made, 0.5, 1.0), 0.0)


def _log_or_0(x: Values) -> Values:
    return np.asarray(np.log(np.where(x == 0, 1.0, x)))


def _pow_by_base(x: Values, y: Values) -> Values:
    if y.dtype.kind == "f":
        return np.asarray(y * np.power(x, y - 1))
    exponent = y.astype(np.float64)
    return np.where(y == 0, 0.0, exponent * np.power(x, exponent - 1))


def _sech2(x: Values) -> Values:
    """Return 1 - tanh², without the difference, which loses all digits beyond 20."""
    small = np.exp(-2 * np.abs(x))
    return np.asarray(4 * small / np.square(1 + small))


def _gamma_density(a: Values, x: Values) -> Values:
    """Return the derivative of the regularized incomplete gamma function by its bound."""
    return np.asarray(np.exp(-x + (a - 1) * np.log(x) - _value("lgamma", a)))


def _value(name: str, *arrays: Values) -> Values:
    return value_of(name, {}, arrays)[0]


# Derivatives of functions of one operand, of it and of the result.
OF_ONE: dict[str, Callable[[Values, Values], Any]] = {
    "abs": lambda x, _: np.where(x >= 0, 1.0, -1.0),
    "acos": lambda x, _: -1 / np.sqrt((1 - x) * (1 + x)),
    "acosh": lambda x, _: 1 / np.sqrt((x - 1) * (x + 1)),
    "asin": lambda x, _: 1 / np.sqrt((1 - x) * (1 + x)),
    "asinh": lambda x, _: 1 / np.hypot(1.0, x),
    "atan": lambda x, _: 1 / (1 + np.square(x)),
    "atanh": lambda x, _: 1 / ((1 - x) * (1 + x)),
    "bessel_i0e": lambda x, made: _value("bessel_i1e", x) - np.sign(x) * made,
    "bessel_i1e": lambda x, made: np.where(
        x == 0,
        0.5,
        _value("bessel_i0e", x) - made * (np.sign(x) + 1 / np.where(x == 0, 1.0, x)),
    ),
    "cbrt": lambda _, made: 1 / (3 * np.square(made)),
    "cos": lambda x, _: -np.sin(x),
    "cosh": lambda x, _: np.sinh(x),
    "digamma": lambda x, _: _value("polygamma", np.ones(()), x),
    "erf": lambda x, _: 2 / sqrt(pi) * np.exp(-np.square(x)),
    "erf_inv": lambda _, made: sqrt(pi) / 2 * np.exp(np.square(made)),
    "erfc": lambda x, _: -2 / sqrt(pi) * np.exp(-np.square(x)),
    "exp": lambda _, made: made,
    "exp2": lambda _, made: log(2) * made,
    "expm1": lambda x, _: np.exp(x),
    "lgamma": lambda x, _: _value("digamma", x),
    "log": lambda x, _: 1 / x,
    "log1p": lambda x, _: 1 / (1 + x),
    "logistic": lambda x, made: made * sigmoid(-x),
    "rsqrt": lambda x, made: -0.5 * made / x,
    "sin": lambda x, _: np.cos(x),
    "sinh": lambda x, _: np.cosh(x),
    "sqrt": lambda _, made: 0.5 / made,
    "square": lambda x, _: 2 * x,
    "tan": lambda _, made: 1 + np.square(made),
    "tanh": lambda x, _: _sech2(x),
}

# Derivatives of functions of two operands by each of them, of both and of the result.
OF_TWO: dict[str, tuple[Callable[[Values, Values, Values], Any], ...]] = {
    "mul": (lambda _x, y, _: y, lambda x, _y, _: x),
    "div": (lambda _x, y, _: 1 / y, lambda x, y, _: -x / np.square(y)),
    "max": (_tie, lambda x, y, made: _tie(y, x, made)),
    "min": (_tie, lambda x, y, made: _tie(y, x, made)),
    "pow": (lambda x, y, _: _pow_by_base(x, y), lambda x, _y, made: _log_or_0(x) * made),
    "rem": (lambda _x, _y, _: 1.0, lambda x, y, _: -np.trunc(x / y)),
    "atan2": (
        lambda x, y, _: y / (np.square(x) + np.square(y)),
        lambda x, y, _: -x / (np.square(x) + np.square(y)),
    ),
}

# Derivatives that are the same everywhere, by each operand.
EVERYWHERE: dict[str, tuple[float, ...]] = {
    "add": (1.0, 1.0),
    "add_any": (1.0, 1.0),
    "convert_element_type": (1.0,),
    "neg": (-1.0,),
    "nextafter": (1.0, 0.0),
    "sub": (1.0, -1.0),
}

# The same where JAX has none by the first operand, or none in closed form: by the second alone.
OF_SECOND: dict[str, Callable[[Values, Values], Any]] = {
    "igamma": _gamma_density,
    "igammac": lambda a, x: -_gamma_density(a, x),
    "polygamma": lambda m, x: _value("polygamma", m + 1, x),
}


def knows(name: str, wanted: Sequence[bool]) -> bool:
    """Return whether the derivatives by the wanted operands are known here."""
    if name in OF_SECOND:
        return not wanted[0]
    tables = (JUMPS, EVERYWHERE, OF_ONE, OF_TWO, ("integer_pow", "clamp", "select_n"))
    return any(name in table for table in tables)


def derivative(
    name: str, params: Params, arrays: Sequence[Values], made: Values, operand: int
) -> Any:
    """Return the derivative of an elementwise primitive by one of its operands, for each element.

    Args:
        name: that of the primitive.
        params: those of its equation.
        arrays: what it reads.
        made: what it makes of them.
        operand: by which of them.

    Returns:
        A number or an array that broadcasts to the result.

    Raises:
        ReplayError: if the derivative is not known.
    """
    if name in JUMPS:
        return 0.0
    if name in EVERYWHERE:
        return EVERYWHERE[name][operand]
    if name in OF_ONE:
        return OF_ONE[name](arrays[0], made)
    if name in OF_TWO:
        x, y = arrays
        return OF_TWO[name][operand](x, y, made)
    if name in OF_SECOND and operand == 1:
        return OF_SECOND[name](*arrays)
    if name == "integer_pow":
        power: int = params["y"]
        return 0.0 if power == 0 else power * integer_pow(arrays[0], power - 1)
    if name == "clamp":
        low, x, high = arrays
        inside = ((low > x) & (low < high), (x > low) & (x < high), high < x)
        return inside[operand].astype(np.float64)
    if name == "select_n":
        which, case, last = arrays[0], operand - 1, len(arrays) - 2
        if which.dtype.kind == "b":
            return (which == bool(case)).astype(np.float64)
        return (np.clip(which, 0, last) == case).astype(np.float64)
    raise ReplayError("has no gradient that is known")


def summed_to(gradient: Values, shape: tuple[int, ...]) -> Values:
    """Return a gradient with the shape of an operand that was broadcast: summed along these axes."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    axes = [axis for axis in range(extra, gradient.ndim) if shape[axis - extra] == 1]
    return np.asarray(gradient.sum((*range(extra), *axes))).reshape(shape)
