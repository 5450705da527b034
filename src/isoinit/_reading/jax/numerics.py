"""Primitives replayed on NumPy arrays in float64, which is finer than what a model computes in.

Booleans stay booleans, integers stay integers, and all floating-point numbers are float64. Arrays
may have other shapes than when they were recorded, as long as they broadcast. Reductions keep the axes
over which they run. What has no entry here is computed by JAX itself, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from isoinit._reading.graph import Array, ReplayError, first_line

Params = Mapping[str, Any]
Function = Callable[..., Any]


def _special(name: str) -> Function:
    """Return a function of SciPy, which JAX needs too, loaded when it is first called."""

    def function(*arrays: Array) -> Any:
        from scipy import special

        return getattr(special, name)(*arrays)

    return function


def _logical(bits: Function, truth: Function) -> Function:
    def function(*arrays: Array) -> Any:
        return (truth if all(a.dtype == bool for a in arrays) else bits)(*arrays)

    return function


def _select(which: Array, *cases: Array) -> Any:
    if len(cases) == 2:
        return np.where(which, cases[1], cases[0])
    return np.choose(which.astype(np.int64), cases)


def _divided(a: Array, b: Array) -> Any:
    whole = np.asarray(a).dtype.kind in "iu" and np.asarray(b).dtype.kind in "iu"
    return np.trunc(np.divide(a, b)).astype(np.asarray(a).dtype) if whole else np.divide(a, b)


PLAIN: dict[str, Function] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "add": np.add,
    "add_any": np.add,
    "and": _logical(np.bitwise_and, np.logical_and),
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "atanh": np.arctanh,
    "bessel_i0e": _special("i0e"),
    "bessel_i1e": _special("i1e"),
    "cbrt": np.cbrt,
    "ceil": np.ceil,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "copy": np.positive,
    "copy_p": np.positive,
    "cos": np.cos,
    "cosh": np.cosh,
    "digamma": _special("digamma"),
    "div": _divided,
    "eq": np.equal,
    "erf": _special("erf"),
    "erf_inv": _special("erfinv"),
    "erfc": _special("erfc"),
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "floor": np.floor,
    "ge": np.greater_equal,
    "gt": np.greater,
    "igamma": _special("gammainc"),
    "igammac": _special("gammaincc"),
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "lgamma": _special("gammaln"),
    "log": np.log,
    "log1p": np.log1p,
    "logistic": _special("expit"),
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": _logical(np.bitwise_not, np.logical_not),
    "or": _logical(np.bitwise_or, np.logical_or),
    "pow": np.power,
    "reduce_precision": np.positive,
    "rem": np.fmod,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "select_n": _select,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "stop_gradient": lambda x: x,
    "sub": np.subtract,
    "tan": np.tan,
    "tanh": np.tanh,
    "xor": _logical(np.bitwise_xor, np.logical_xor),
}
REDUCED: dict[str, Function] = {
    "reduce_and": np.logical_and.reduce,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_or": np.logical_or.reduce,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
}
CUMULATIVE: dict[str, Function] = {
    "cumlogsumexp": np.logaddexp.accumulate,
    "cummax": np.maximum.accumulate,
    "cummin": np.minimum.accumulate,
    "cumprod": np.multiply.accumulate,
    "cumsum": np.add.accumulate,
}
# Elementwise, too, but with parameters of their own, or computed by JAX itself.
OTHERS = """convert_element_type integer_pow nextafter polygamma population_count clz round shift_left
    shift_right_arithmetic shift_right_logical zeta random_gamma_grad
    regularized_incomplete_beta""".split()
ELEMENTWISE = frozenset(PLAIN) | frozenset(OTHERS)
KEEPS_DIMS = frozenset(REDUCED) | {"argmax", "argmin"}


def replay(name: str, params: Params, arrays: Sequence[Array]) -> list[Array]:
    """Return what a primitive makes of arrays.

    Args:
        name: the primitive's.
        params: its own parameters.
        arrays: in place of its operands.

    Raises:
        ReplayError: if it cannot be replayed on them; the message says why.

    Example:
        >>> replay("integer_pow", {"y": 3}, [np.array([2.0])])
        [array([8.])]
    """
    with np.errstate(all="ignore"):
        try:
            found = _numpy(name, params, [np.asarray(array) for array in arrays])
        except (TypeError, ValueError) as error:
            raise ReplayError(f"cannot be replayed: {first_line(error)}") from error
    if found is None:
        found = _by_jax(name, params, arrays)
    return [np.asarray(found)]


def _numpy(name: str, params: Params, arrays: Sequence[Array]) -> Any:
    if name in PLAIN:
        return PLAIN[name](*arrays)
    if name in REDUCED:
        return REDUCED[name](arrays[0], axis=tuple(params["axes"]), keepdims=True)
    if name in CUMULATIVE:
        turned = np.flip(arrays[0], params["axis"]) if params.get("reverse") else arrays[0]
        found = CUMULATIVE[name](turned, axis=params["axis"])
        return np.flip(found, params["axis"]) if params.get("reverse") else found
    if name in ("argmax", "argmin"):
        function = np.argmax if name == "argmax" else np.argmin
        return np.expand_dims(function(arrays[0], axis=params["axes"][0]), params["axes"][0])
    if name == "integer_pow":
        base = arrays[0]
        power = params["y"]
        return base**power if power >= 0 else 1 / base.astype(np.float64) ** -power
    if name == "round":
        even = int(params["rounding_method"]) == 1
        away = np.sign(arrays[0]) * np.floor(np.abs(arrays[0]) + 0.5)
        return np.rint(arrays[0]) if even else away
    if name == "convert_element_type":
        return _cast(arrays[0], params["new_dtype"])
    if name == "sort" and len(arrays) == 1:
        return np.sort(arrays[0], axis=params["dimension"])
    return None


def _cast(array: Array, dtype: Any) -> Any:
    kind = np.dtype(dtype)
    if kind.kind in "biu":
        return array.astype(kind)
    if kind.kind == "c":
        raise ReplayError("computes with complex numbers")
    return array.astype(np.float64)


def primitive(name: str) -> Any:
    """Return a primitive of `jax.lax` by its name.

    Raises:
        ReplayError: if there is none.
    """
    from jax import lax

    found = getattr(lax, f"{name}_p", None)
    if found is None:
        raise ReplayError(f"uses {name}, which is no primitive of jax.lax")
    return found


def _by_jax(name: str, params: Params, arrays: Sequence[Array]) -> Any:
    """Return what JAX itself computes in float64, if no shapes stand among the parameters."""
    import jax

    if name not in OTHERS:
        raise ReplayError("has shapes of its own, or uses chance")
    with jax.enable_x64(True):
        common = np.broadcast_arrays(*arrays)
        return primitive(name).bind(*[jax.numpy.asarray(a) for a in common], **params)
