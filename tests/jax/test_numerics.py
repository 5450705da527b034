"""Elementwise primitives of JAX replayed on arrays, against JAX, mpmath and differences."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from isoinit._reading.graph import ReplayError  # noqa: E402
from isoinit._reading.jax import elementwise, numerics  # noqa: E402
from jax_reference import cast, in_jax  # noqa: E402

RNG = np.random.default_rng(0)
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999999999999994, 7.25, 30.0, -30.0]
WILD = [-700.0, 700.0, -1e-9, 1e150, np.inf, -np.inf, np.nan]
ROW = np.concatenate([EDGES, WILD, 2 * RNG.standard_normal(100)])
FIRST, SECOND = (side.ravel() for side in np.meshgrid(ROW[:30], ROW[:30]))
POSITIVE = RNG.uniform(0.05, 6.0, (3, 200))
SHARES = RNG.uniform(0.02, 0.98, 200)

# Each function of jax.lax is one primitive; its equation says which, and with which parameters.
ONE: dict[str, Callable[..., Any]] = {
    name: getattr(lax, name)
    for name in (
        "abs acos acosh asin asinh atan atanh bessel_i0e bessel_i1e cbrt ceil cos cosh digamma erf"
        " erf_inv erfc exp exp2 expm1 floor is_finite lgamma log log1p logistic neg rsqrt sign sin"
        " sinh sqrt square stop_gradient tan tanh"
    ).split()
} | {
    "round away": lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
    "round even": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    "reduce_precision": lambda x: lax.reduce_precision(x, 11, 52),
    "copy": lax.copy_p.bind,
    **{f"power {y}": (lambda x, y=y: lax.integer_pow(x, y)) for y in (-3, -1, 0, 1, 3, 4, 7)},
}
COMPARISONS = "eq ne ge gt le lt eq_to le_to lt_to".split()
TWO: dict[str, Callable[..., Any]] = {
    name: getattr(lax, name) for name in "add atan2 div max min mul pow rem sub".split()
}
TWO |= {name: getattr(lax, f"{name}_p").bind for name in COMPARISONS}
POSITIVES: dict[str, tuple[Callable[..., Any], Sequence[Any]]] = {
    "igamma": (lax.igamma, POSITIVE[:2]),
    "igammac": (lax.igammac, POSITIVE[:2]),
    "polygamma": (lax.polygamma, [np.floor(POSITIVE[0]), POSITIVE[1]]),
    "zeta": (lax.zeta, [POSITIVE[0] + 1.1, POSITIVE[1]]),
    "betainc": (lax.betainc, [*POSITIVE[:2], SHARES]),
}
INTEGERS = (
    "add sub mul div rem max min and or xor eq ne lt le gt ge shift_left shift_right_arithmetic"
    " shift_right_logical"
).split()
OF_ONE_INTEGER = "neg not population_count clz square sign".split()


@cache
def _of_one() -> dict[str, Any]:
    return in_jax(ONE, {name: [ROW] for name in ONE})


@cache
def _of_two() -> dict[str, Any]:
    return in_jax(TWO, {name: [FIRST, SECOND] for name in TWO})


@pytest.mark.parametrize("key", ONE)
def test_functions_of_one_operand_are_jax_s(key: str) -> None:
    name, params, expected, slopes = _of_one()[key]
    (made,) = numerics.replay(name, params, [ROW])
    assert made.dtype == expected.dtype
    pole = (ROW == 0) & (name == "digamma")  # NaN, or from JAX 0.12 minus infinity
    np.testing.assert_allclose(made[~pole], expected[~pole], rtol=1e-11, atol=0)
    if slopes:
        (pulled,) = numerics.pull(name, params, [ROW], [np.full(ROW.shape, 1.5)])
        # Outside their domains slopes mean nothing, and XLA's digamma has 6 digits of them below 0.
        at = np.isfinite(expected) & ((ROW > 0) | (name != "digamma"))
        np.testing.assert_allclose(pulled[at], slopes[0][at], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("key", TWO)
def test_functions_of_two_operands_are_jax_s(key: str) -> None:
    name, params, expected, slopes = _of_two()[key]
    (made,) = numerics.replay(name, params, [FIRST, SECOND])
    assert made.dtype == expected.dtype
    np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-300)
    if slopes:
        pulled = numerics.pull(name, params, [FIRST, SECOND], [np.full(FIRST.shape, 1.5)])
        for mine, theirs in zip(pulled, slopes, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-300)


def test_special_functions_of_positive_numbers_are_jax_s() -> None:
    functions = {key: function for key, (function, _) in POSITIVES.items()}
    args = {key: args for key, (_, args) in POSITIVES.items()}
    for key, (name, params, expected, _) in in_jax(functions, args, smooth=False).items():
        (made,) = numerics.replay(name, params, args[key])
        np.testing.assert_allclose(made, expected, rtol=1e-9, err_msg=key)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8, np.uint32])
def test_integers_keep_their_width_and_overflow_as_in_jax(dtype: Any) -> None:
    info = np.iinfo(dtype)
    few = [0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 100, info.min, info.max, info.max - 1]
    ends = np.array(few + ([-1, -2, -3, -100] if info.min else []), dtype)
    x, y = (side.ravel() for side in np.meshgrid(ends, ends))
    functions = {name: getattr(lax, f"{name}_p").bind for name in INTEGERS + OF_ONE_INTEGER}
    functions |= {"mul": lax.mul, "power": lambda x: lax.integer_pow(x, 3)}
    casts = [np.int8, np.uint8, np.int32, np.int64, np.uint32, np.float64, np.bool_]
    functions |= {f"to {to}": (lambda x, to=to: cast(x, to)) for to in casts if to != dtype}
    args = {name: [x, y] if name in INTEGERS else [ends] for name in functions}
    for name, (primitive, params, expected, _) in in_jax(functions, args, smooth=False).items():
        (made,) = numerics.replay(primitive, params, args[name])
        assert made.dtype == expected.dtype
        np.testing.assert_array_equal(made, expected, err_msg=name)


def test_casts_of_floats_are_cut_toward_zero_and_end_where_the_integers_do() -> None:
    ends = [2.0**power for power in (7, 8, 15, 31, 32, 63, 64)]
    row = np.concatenate([ROW, 100 * ROW, ends, np.negative(ends), np.subtract(ends, 1)])
    casts = [np.int8, np.uint8, np.int32, np.int64, np.uint32, np.bool_]
    functions = {f"to {to}": (lambda x, to=to: cast(x, to)) for to in casts}
    found = in_jax(functions, {key: [row] for key in functions}, smooth=False)
    for name, params, expected, _ in found.values():
        (made,) = numerics.replay(name, params, [row])
        assert made.dtype == expected.dtype
        np.testing.assert_array_equal(made, expected)


def test_casts_between_floating_point_types_do_nothing() -> None:
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float8_e4m3fn, np.float16):
        params = {"new_dtype": np.dtype(dtype), "weak_type": False, "sharding": None}
        (made,) = numerics.replay("convert_element_type", params, [ROW], [np.dtype(dtype)])
        np.testing.assert_array_equal(made, ROW)


def test_booleans_stay_booleans() -> None:
    x, y = np.array([True, False, True, False]), np.array([True, True, False, False])
    functions = {n: getattr(lax, f"{n}_p").bind for n in "and or xor max min eq ne lt le".split()}
    args = {key: [x, y] for key in functions} | {"not": [x]}
    functions["not"] = lax.not_p.bind
    for key, (name, params, expected, _) in in_jax(functions, args, smooth=False).items():
        (made,) = numerics.replay(name, params, args[key])
        assert made.dtype == bool
        np.testing.assert_array_equal(made, expected, err_msg=key)


def test_choices_and_clamps_are_jax_s() -> None:
    which = RNG.integers(0, 4, ROW.size).astype(np.int32)
    cases = [ROW * factor for factor in (1.0, 2.0, -1.0, 0.5)]
    low, high = np.full(ROW.shape, -1.0), np.full(ROW.shape, 1.5)
    args = {"bool": [which > 1, *cases[:2]], "int": [which, *cases], "clamp": [low, ROW, high]}
    functions = {"bool": lax.select_n, "int": lax.select_n, "clamp": lax.clamp}
    for key, (name, params, expected, slopes) in in_jax(functions, args).items():
        (made,) = numerics.replay(name, params, args[key])
        np.testing.assert_array_equal(made, expected)
        pulled = numerics.pull(name, params, args[key], [np.full(ROW.shape, 1.5)])
        for array, mine, theirs in zip(args[key], pulled, slopes, strict=True):
            np.testing.assert_array_equal(
                mine, theirs if array.dtype == float else np.zeros(mine.shape)
            )


def test_a_choice_beyond_the_cases_is_that_of_the_nearest() -> None:
    which, cases = np.arange(-2, 6, dtype=np.int32), [np.full(8, 10.0 * case) for case in range(4)]
    (made,) = numerics.replay("select_n", {}, [which, *cases])
    np.testing.assert_array_equal(made, lax.select_n(which, *map(jnp.asarray, cases)))
    _, *pulled = numerics.pull("select_n", {}, [which, *cases], [np.ones(8)])
    assert [one.sum() for one in pulled] == [3.0, 1.0, 1.0, 3.0]


def test_complex_numbers_are_jax_s_or_refused() -> None:
    z = RNG.standard_normal((2, 20)) + 1j * RNG.standard_normal((2, 20))
    names = sorted(elementwise.COMPLEX - elementwise.SAME - {"add_any"})
    two = {"add", "sub", "mul", "div", "eq", "ne"}
    functions = {name: getattr(lax, name) for name in names if hasattr(lax, name)}
    functions |= {
        "integer_pow": lambda x: lax.integer_pow(x, -3),
        "convert_element_type": lambda x: cast(x, np.float64),
    }
    del functions["select_n"]
    args = {name: list(z) if name in two else [z[0]] for name in functions}
    args["complex"] = [z[0].real, z[0].imag]
    for key, (name, params, expected, _) in in_jax(functions, args, smooth=False).items():
        (made,) = numerics.replay(name, params, args[key])
        assert made.dtype == expected.dtype
        np.testing.assert_allclose(made, expected, rtol=1e-12, err_msg=key)
    with pytest.raises(ReplayError, match="complex"):
        numerics.replay("log1p", {}, [z])
    with pytest.raises(ReplayError, match="complex"):
        numerics.pull("exp", {}, [z], [z])


PLAIN = RNG.standard_normal((3, 4, 5))


def test_scalars_and_axes_of_one_element_broadcast_and_gradients_are_summed_over_them() -> None:
    x, y, sent = PLAIN, PLAIN[:, :1, :], RNG.standard_normal(PLAIN.shape)
    for one, two in ((x, y), (y, x), (x, np.array(2.5)), (np.array(0.5), x), (x, y[0])):
        np.testing.assert_array_equal(numerics.replay("mul", {}, [one, two])[0], one * two)
        by_one, by_two = numerics.pull("mul", {}, [one, two], [sent])
        assert by_one.shape == one.shape
        assert by_two.shape == two.shape
        np.testing.assert_allclose(by_one.sum(), (sent * two).sum())
        np.testing.assert_allclose(by_two.sum(), (sent * one).sum())
    np.testing.assert_allclose(numerics.pull("mul", {}, [x, y], [sent])[1][:, 0], (sent * x).sum(1))


EXACT: dict[str, tuple[Callable[..., Any], Sequence[Any]]] = {
    "erf": (mpmath.erf, [ROW[-20:]]),
    "erfc": (mpmath.erfc, [np.array([-3.0, 0.1, 5.0, 20.0])]),
    "erf_inv": (mpmath.erfinv, [SHARES[:20]]),
    "lgamma": (lambda x: mpmath.log(abs(mpmath.gamma(x))), [ROW[-20:]]),
    "digamma": (lambda x: mpmath.psi(0, x), [ROW[-20:]]),
    "igamma": (lambda a, x: mpmath.gammainc(a, 0, x, True), POSITIVE[:2, :20]),
    "igammac": (lambda a, x: mpmath.gammainc(a, x, mpmath.inf, True), POSITIVE[:2, :20]),
    "bessel_i0e": (lambda x: mpmath.besseli(0, x) * mpmath.exp(-abs(x)), [ROW[-20:]]),
    "bessel_i1e": (lambda x: mpmath.besseli(1, x) * mpmath.exp(-abs(x)), [ROW[-20:]]),
    "polygamma": (lambda m, x: mpmath.psi(int(m), x), [np.array([1.0, 2.0, 3.0]), POSITIVE[0, :3]]),
    "zeta": (mpmath.zeta, [np.array([1.5, 2.0, 4.0]), POSITIVE[0, :3]]),
    "regularized_incomplete_beta": (
        lambda a, b, x: mpmath.betainc(a, b, 0, x, True),
        [*POSITIVE[:2, :20], SHARES[:20]],
    ),
    "logistic": (lambda x: 1 / (1 + mpmath.exp(-x)), [np.array([-700.0, -40.0, 0.3, 40.0])]),
    "expm1": (mpmath.expm1, [np.array([1e-12, -1e-9, 2.0])]),
    "log1p": (mpmath.log1p, [np.array([1e-12, -1e-9, 2.0])]),
    "cbrt": (lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), [ROW[-20:]]),
}
BY = {
    "igamma": [1],
    "igammac": [1],
    "polygamma": [1],
    "zeta": [],
    "regularized_incomplete_beta": [2],
}


@pytest.mark.parametrize("name", EXACT)
def test_special_functions_and_their_slopes_are_exact(name: str) -> None:
    function, arrays = EXACT[name]
    rows = list(zip(*(array.tolist() for array in arrays), strict=True))
    with mpmath.workdps(40):
        expected = np.array([float(function(*map(mpmath.mpf, row))) for row in rows])
        (made,) = numerics.replay(name, {}, arrays)
        np.testing.assert_allclose(made, expected, rtol=1e-11)
        if name == "regularized_incomplete_beta" and jax.__version_info__ < (0, 7):
            pytest.skip("JAX 0.6 has no slope of it where something else is traced")
        for place in BY.get(name, [0]):
            wanted = [other == place for other in range(len(arrays))]
            sent = [np.ones(len(rows))]
            pulled = numerics.pull(name, {}, arrays, sent, wanted=wanted)[place]
            slopes = [_slope(function, row, place) for row in rows]
            np.testing.assert_allclose(pulled, slopes, rtol=1e-9)


def _slope(function: Callable[..., Any], row: Sequence[float], place: int) -> float:
    step = mpmath.mpf("1e-12")
    sides = [[mpmath.mpf(x) for x in row] for _ in range(2)]
    sides[0][place] -= step
    sides[1][place] += step
    return float((function(*sides[1]) - function(*sides[0])) / (2 * step))


def test_slopes_of_saturating_functions_keep_their_digits() -> None:
    far = np.array([20.0, 40.0, 300.0])
    (tanh,) = numerics.pull("tanh", {}, [far], [np.ones(3)])
    (logistic,) = numerics.pull("logistic", {}, [far], [np.ones(3)])
    np.testing.assert_allclose(tanh, 4 * np.exp(-2 * far), rtol=1e-12)
    np.testing.assert_allclose(logistic, np.exp(-far), rtol=1e-8)


def test_where_there_is_no_slope_it_is_jax_s() -> None:
    zero, one = np.zeros(1), np.ones(1)
    assert [g.item() for g in numerics.pull("max", {}, [zero, zero], [one])] == [0.5, 0.5]
    assert numerics.pull("abs", {}, [zero], [one])[0].item() == 1.0
    assert numerics.pull("sign", {}, [zero], [one])[0].item() == 0.0
    for end in (zero, one):
        assert numerics.pull("clamp", {}, [zero, end, one], [one])[1].item() == 0.0


def test_what_is_not_written_down_is_run_by_jax_even_under_a_trace() -> None:
    a, x, step = np.array([0.7, 2.5]), np.array([1.5, 1.5]), 1e-6
    (slope,) = numerics.replay("igamma_grad_a", {}, [a, x])
    sides = [numerics.replay("igamma", {}, [a + side, x])[0] for side in (-step, step)]
    np.testing.assert_allclose(slope, (sides[1] - sides[0]) / (2 * step), rtol=1e-8)
    if hasattr(jax.lax, "mulhi"):  # newer than JAX 0.8
        words = RNG.integers(-(2**31), 2**31, (2, 50)).astype(np.int32)
        (high,) = numerics.replay("mulhi", {}, list(words))
        np.testing.assert_array_equal(high, (words[0].astype(np.int64) * words[1]) >> 32)

    def traced(y: Any) -> Any:
        ties, params = np.array([1.5, 1.5]), {"axis": 0, "reverse": False}
        return y * numerics.pull("cummax", params, [ties], [np.ones(2)])[0]

    np.testing.assert_array_equal(jax.jit(traced)(1.0), [1.5, 0.5])
    assert not jax.config.jax_enable_x64


def test_slopes_that_are_not_written_down_are_jax_s_in_float64() -> None:
    a, x, step = np.array([0.7, 2.5]), np.array([1.5]), 1e-6
    sides = [numerics.replay("igamma", {}, [a + side, x])[0] for side in (-step, step)]
    by_a, by_x = numerics.pull("igamma", {}, [a, x], [np.ones(2)])
    np.testing.assert_allclose(by_a, (sides[1] - sides[0]) / (2 * step), rtol=1e-8)
    gammas = np.array([float(mpmath.gamma(v)) for v in a])
    np.testing.assert_allclose(by_x, [(x ** (a - 1) * np.exp(-x) / gammas).sum()])


@pytest.mark.parametrize(
    ("name", "params", "arrays", "why"),
    [
        ("random_bits", {"bit_width": 32, "shape": (3,)}, [ROW], "uses chance"),
        (
            "dot_general",
            {"dimension_numbers": (((1,), (0,)), ((), ()))},
            [PLAIN, PLAIN],
            "shapes of",
        ),
        ("transpose", {"permutation": (1, 0)}, [PLAIN], "shapes of its own"),
        ("cholesky", {"symmetrize_input": True}, [np.eye(3)], "no function of single elements"),
        ("bitcast_convert_type", {"new_dtype": np.dtype(np.int32)}, [ROW], "bits"),
        ("no_such_primitive", {}, [ROW], "no primitive of JAX"),
        ("reduce_max", {"axes": (2,)}, [ROW], "cannot be replayed"),
        ("add", {}, [np.zeros(3), np.zeros(4)], "cannot be replayed"),
        ("and", {}, [ROW, ROW], "cannot be replayed"),
        ("cond", {"branches": ()}, [ROW], "shapes of its own"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    name: str, params: dict[str, Any], arrays: Sequence[Any], why: str
) -> None:
    with pytest.raises(ReplayError, match=why):
        numerics.replay(name, params, arrays)


def test_numbers_of_another_kind_are_cast_where_no_value_changes() -> None:
    (made,) = numerics.replay("div", {}, [np.array([7.0, -7.0]), np.array(2)], [np.int32] * 2)
    assert made.dtype == np.int32
    assert made.tolist() == [3, -3]
    (made,) = numerics.replay("exp", {}, [np.arange(3, dtype=np.int8)], [np.float32])
    np.testing.assert_array_equal(made, np.exp([0.0, 1.0, 2.0]))
    with pytest.raises(ReplayError, match="integers"):
        numerics.replay("div", {}, [np.array([7.5]), np.array(2)], [np.int32] * 2)
    with pytest.raises(ReplayError, match="booleans"):
        numerics.replay("not", {}, [np.array([0.5])], [np.bool_])
    with pytest.raises(ReplayError, match="real numbers"):
        numerics.replay("exp", {}, [np.array([1j])], [np.float32])
    with pytest.raises(ReplayError, match="no numbers"):
        numerics.replay("copy", {}, [ROW], [jax.random.key(0).dtype])


def test_a_gradient_of_another_shape_than_the_result_is_refused() -> None:
    with pytest.raises(ReplayError, match="another shape"):
        numerics.pull("exp", {}, [ROW], [np.ones(3)])


def test_the_sets_name_what_is_tested_here() -> None:
    tested = {name.split()[0] for name in (*ONE, *TWO, *POSITIVES, *INTEGERS, *OF_ONE_INTEGER)}
    tested |= {
        "clamp",
        "select_n",
        "convert_element_type",
        "integer_pow",
        "complex",
        "real",
        "imag",
    }
    tested |= {"conj", "regularized_incomplete_beta", "add_any", "nextafter"}
    assert tested >= numerics.ELEMENTWISE - elementwise.SAME


def test_nextafter_and_add_any_are_numpy_s() -> None:
    x, y = ROW[20:-1], ROW[21:]
    np.testing.assert_array_equal(numerics.replay("nextafter", {}, [x, y])[0], np.nextafter(x, y))
    np.testing.assert_array_equal(numerics.replay("add_any", {}, [x, y])[0], x + y)
    by_x, by_y = numerics.pull("nextafter", {}, [x, y], [np.ones(x.shape)])
    assert np.array_equal(by_x, np.ones(x.shape))
    assert not by_y.any()


def test_neither_torch_nor_jax_nor_scipy_is_loaded_by_the_import() -> None:
    program = (
        "import sys, isoinit._reading.jax.replayed;"
        "print(*{'torch', 'jax', 'scipy', 'numba'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
