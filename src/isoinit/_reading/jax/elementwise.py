"""Elementwise primitives of JAX as NumPy functions.

Floating-point numbers are float64 throughout: float32 on XLA is too coarse to tell an elementwise
function from one that is not. Integers keep their width, since shifts and overflows depend on it.
Arrays may have any shapes that broadcast. Where a value is a convention (division by zero, shifts
by more than the width, casts out of range) it is XLA's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._reading.graph import ReplayError

Params = Mapping[str, Any]
Values = npt.NDArray[Any]  # booleans, integers, float64 or complex128

SMALL = frozenset("int2 uint2 int4 uint4".split())


def kind_of(dtype: Any) -> str:
    """Return what the numbers of a dtype are: "float", "complex", "bool" or "int".

    Args:
        dtype: a NumPy dtype, one of ml_dtypes (bfloat16), or one of JAX's own.

    Raises:
        ReplayError: if NumPy does not compute with such numbers.
    """
    try:
        name = np.dtype(dtype).name
    except TypeError as error:
        raise ReplayError(f"computes with {dtype}, which are no numbers") from error
    if name in SMALL:
        raise ReplayError(f"computes with {name}, which is smaller than a byte")
    for kind in ("float", "complex", "bool"):
        if name.startswith(kind) or (kind == "float" and name == "bfloat16"):
            return kind
    if name.startswith(("int", "uint")):
        return "int"
    raise ReplayError(f"computes with {name}")


def as_recorded(array: Any, dtype: Any = None) -> Values:
    """Return an array with the kind of numbers that the primitive was recorded with.

    Args:
        array: any numbers.
        dtype: the recorded dtype; by default the array's own.

    Raises:
        ReplayError: if its numbers are none of that kind: halves in the place of integers.
    """
    given = np.asarray(array)
    if dtype is None:
        dtype = given.dtype
    kind = kind_of(dtype)
    if kind in ("float", "complex"):
        wide = np.complex128 if kind == "complex" else np.float64
        if kind == "float" and np.iscomplexobj(given):
            raise ReplayError("reads real numbers and was given complex ones")
        return given.astype(wide, copy=False)
    if given.dtype == dtype:
        return given
    with np.errstate(all="ignore"):
        same = given.astype(dtype)
        if not np.array_equal(same, given):
            what = "booleans" if kind == "bool" else "integers"
            raise ReplayError(f"reads {what} and was given other numbers")
    return same


def converted(array: Values, dtype: Any) -> Values:
    """Return what a cast makes of numbers; one between floating-point types does nothing.

    A float becomes the nearest integer toward zero that the dtype has, and NaN becomes 0.

    Raises:
        ReplayError: if NumPy does not compute with numbers of that dtype.
    """
    kind = kind_of(dtype)
    if kind == "bool":
        return np.asarray(array != 0)
    if kind == "complex":
        return array.astype(np.complex128)
    real = array.real if np.iscomplexobj(array) else array
    if kind == "float":
        return real.astype(np.float64)
    if real.dtype.kind != "f":
        return real.astype(dtype)
    info = np.iinfo(dtype)
    low, high = float(info.min), float(info.max)  # of 64 bits, `high` is one too many
    inside = (real >= low) & (real < high)
    cut = np.where(inside, np.trunc(real), 0.0).astype(dtype)
    ends = np.where(real >= high, info.max, np.where(real < low, info.min, 0)).astype(dtype)
    return np.where(inside, cut, ends)


def _is_int(array: Values) -> bool:
    return array.dtype.kind in "iu"


def _div(x: Values, y: Values) -> Values:
    """Return a quotient; that of integers is cut toward zero, and -1 (all bits) by zero."""
    if not _is_int(x):
        return np.asarray(np.true_divide(x, y))
    by = np.where(y == 0, 1, y).astype(y.dtype)
    down = np.floor_divide(x, by)
    up = (np.fmod(x, by) != 0) & ((x < 0) != (by < 0))
    return np.where(y == 0, ~np.zeros_like(x), down + up.astype(x.dtype))


def _rem(x: Values, y: Values) -> Values:
    """Return the remainder with the sign of the dividend; of integers by zero, the dividend."""
    if not _is_int(x):
        return np.asarray(np.fmod(x, y))
    return np.where(y == 0, x, np.fmod(x, np.where(y == 0, 1, y).astype(y.dtype)))


def _pow(x: Values, y: Values) -> Values:
    return np.asarray(np.power(x, y.astype(np.float64) if _is_int(y) else y))


def integer_pow(x: Values, exponent: int) -> Values:
    """Return a power by an integer, by multiplication: much faster than a power by a float."""
    made, square, left = np.ones_like(x), x, abs(exponent)
    while left:
        if left & 1:
            made = made * square
        left >>= 1
        if left:
            square = square * square
    return 1.0 / made if exponent < 0 else made


def _round(params: Params, x: Values) -> Values:
    if int(params["rounding_method"]) == 1:  # to the nearest even
        return np.asarray(np.rint(x))
    whole = np.trunc(x)
    return np.where(np.abs(x - whole) >= 0.5, whole + np.sign(x), np.where(np.isinf(x), x, whole))


def select_n(which: Values, *cases: Values) -> Values:
    """Return for each element that of the case with its number; beyond the ends, the end's."""
    made = cases[0]
    for number, case in enumerate(cases[1:], 1):
        made = np.where(which if which.dtype.kind == "b" else which >= number, case, made)
    return made if len(cases) > 1 else np.broadcast_arrays(made, which)[0]


def sigmoid(x: Values) -> Values:
    """Return 1/(1 + exp(-x)), to the last digits on both sides."""
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _ordered(compare: Callable[..., Any]) -> Callable[..., Values]:
    """Return a comparison in IEEE's total order: -NaN, -inf, …, -0, 0, …, inf, NaN."""

    def key(x: Values) -> Values:
        if x.dtype.kind != "f":
            return x
        bits = np.ascontiguousarray(x).reshape(x.shape).view(np.int64)
        return np.where(bits < 0, np.bitwise_xor(bits, np.iinfo(np.int64).max), bits)

    return lambda x, y: np.asarray(compare(key(x), key(y)))


def _unsigned(x: Values) -> Values:
    return x.astype(np.dtype(f"u{x.dtype.itemsize}"))


def _shift_right_arithmetic(x: Values, by: Values) -> Values:
    """Return bits moved to the right behind copies of the first one, also of unsigned integers."""
    signed = np.dtype(f"i{x.dtype.itemsize}")
    return np.asarray(np.right_shift(x.astype(signed), by.astype(signed))).astype(x.dtype)


def _shift_right_logical(x: Values, by: Values) -> Values:
    return np.right_shift(_unsigned(x), _unsigned(by)).astype(x.dtype)


def _population_count(x: Values) -> Values:
    bits = _unsigned(x)
    count = sum((bits >> bits.dtype.type(i)) & bits.dtype.type(1) for i in range(8 * x.itemsize))
    return np.asarray(count, x.dtype)


def _clz(x: Values) -> Values:
    bits, width = _unsigned(x), 8 * x.itemsize
    length = sum((bits >> bits.dtype.type(i)) != 0 for i in range(width))
    return np.asarray(width - np.asarray(length), x.dtype)


def _special(name: str) -> Callable[..., Values]:
    """Return a function of scipy.special, which comes with JAX and takes long to import."""

    def function(*arrays: Values) -> Values:
        from scipy import special

        return np.asarray(getattr(special, name)(*arrays))

    return function


def _digamma(x: Values) -> Values:
    return np.where(x == 0, np.nan, _special("psi")(x))  # its pole has two sides


def _lgamma(x: Values) -> Values:
    return np.where(np.isinf(x), np.inf, _special("gammaln")(x))


# Primitives that leave their operands as they are; some of them take several.
SAME = frozenset(
    "copy copy_p name stop_gradient reduce_precision optimization_barrier device_put"
    " sharding_constraint layout_constraint pvary pcast mesh_cast reshard".split()
)

PLAIN: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "add": np.add,
    "add_any": np.add,
    "and": np.bitwise_and,
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
    "clz": _clz,
    "complex": lambda real, imag: np.add(real, np.multiply(1j, imag)),
    "conj": np.conjugate,
    "cos": np.cos,
    "cosh": np.cosh,
    "digamma": _digamma,
    "div": _div,
    "eq": np.equal,
    "eq_to": _ordered(np.equal),
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
    "imag": np.imag,
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "le_to": _ordered(np.less_equal),
    "lgamma": _lgamma,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": sigmoid,
    "lt": np.less,
    "lt_to": _ordered(np.less),
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "nextafter": np.nextafter,
    "not": np.invert,
    "or": np.bitwise_or,
    "polygamma": _special("polygamma"),
    "population_count": _population_count,
    "pow": _pow,
    "real": np.real,
    "regularized_incomplete_beta": _special("betainc"),
    "rem": _rem,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "select_n": select_n,
    "shift_left": np.left_shift,
    "shift_right_arithmetic": _shift_right_arithmetic,
    "shift_right_logical": _shift_right_logical,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "sub": np.subtract,
    "tan": np.tan,
    "tanh": np.tanh,
    "xor": np.bitwise_xor,
    "zeta": _special("zeta"),
}

WITH_PARAMS: dict[str, Callable[..., Values]] = {
    "convert_element_type": lambda params, x: converted(x, params["new_dtype"]),
    "integer_pow": lambda params, x: integer_pow(x, params["y"]),
    "round": _round,
}

NAMES = frozenset({*SAME, *PLAIN, *WITH_PARAMS})
COMPLEX = SAME | frozenset(  # NumPy's functions of complex numbers that are XLA's, too
    "abs add add_any complex conj convert_element_type cos cosh div eq exp imag integer_pow mul ne"
    " neg real select_n sin sinh sqrt square sub tanh".split()
)


def values(name: str, params: Params, arrays: Sequence[Values]) -> list[Values]:
    """Return what an elementwise primitive makes of arrays that broadcast.

    Args:
        name: one of `NAMES`.
        params: those of its equation.
        arrays: what it reads.

    Raises:
        ReplayError: if there are complex numbers of which its values are not known.
    """
    if name not in COMPLEX and any(np.iscomplexobj(array) for array in arrays):
        raise ReplayError("computes with complex numbers")
    if name in SAME:
        return list(arrays)
    if (out := params.get("out_dtype")) is not None:
        arrays = [converted(array, out) for array in arrays]
    if name in WITH_PARAMS:
        return [np.asarray(WITH_PARAMS[name](params, *arrays))]
    return [np.asarray(PLAIN[name](*arrays))]
