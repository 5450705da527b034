"""Functions of JAX, flattened to their equations and replayed, against JAX itself in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax import lax, nn  # noqa: E402

from isoinit._reading.graph import Op, ReplayError, elementwise, pull_back, run_ops  # noqa: E402
from isoinit._reading.jax.replayed import Earlier, Given, Replayed, Step  # noqa: E402
from jax_older import enable_x64  # noqa: E402

RNG = np.random.default_rng(0)
X, Y = 2 * RNG.standard_normal((3, 4)), RNG.standard_normal((3, 4))
LONG = 2 * RNG.standard_normal((5, 123))  # of another shape than was recorded

OF_NN = (
    "celu elu gelu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log1mexp log_sigmoid relu"
    " relu6 selu sigmoid silu soft_sign softplus sparse_plus sparse_sigmoid squareplus swish tanh mish"
).split()
OF_NN = [name for name in OF_NN if hasattr(jax.nn, name)]  # log1mexp is newer than JAX 0.6
OF_NUMPY = (
    "abs arcsinh arctan cbrt cos cosh deg2rad exp exp2 expm1 fabs i0 log log10 log1p log2"
    " nan_to_num negative reciprocal rint round sign sin sinc sinh sqrt square tan tanh trunc"
).split()
OF_TWO = (
    "add arctan2 divide float_power floor_divide fmax fmin fmod heaviside hypot logaddexp logaddexp2"
    " maximum minimum mod multiply power subtract"
).split()
CHOICES = (
    "greater isclose isfinite isinf isnan logical_and logical_not logical_xor not_equal".split()
)
ALONG_UNITS = {
    "softmax": nn.softmax,
    "log_softmax": nn.log_softmax,
    "masked softmax": lambda x: nn.softmax(x, where=x > 0),
    "logsumexp": lambda x: nn.logsumexp(x, axis=-1),
    **({"logmeanexp": lambda x: nn.logmeanexp(x, axis=0)} if hasattr(nn, "logmeanexp") else {}),
    "standardize": nn.standardize,
    "max": lambda x: jnp.max(x, axis=1),
    "nanmean": lambda x: jnp.nanmean(x, axis=1),
    "std": jnp.std,
    "prod": lambda x: jnp.prod(x, axis=0),
    "cumsum": lambda x: jnp.cumsum(x, axis=1),
    "sorted": lambda x: jnp.sort(x, axis=0),
}
OTHERS = {
    "exact gelu": lambda x: nn.gelu(x, approximate=False),
    "normal cdf": lambda x: jax.scipy.stats.norm.logcdf(x),
    "clipped": lambda x: jnp.clip(x, -1, 2),
    "snake": lambda x: x + jnp.sin(3 * x) ** 2 / 3,
    "a person's own": lambda x: jnp.where(x > 1, jnp.log(jnp.abs(x)), x * jax.nn.sigmoid(1.7 * x)),
    "rounded, straight through": lambda x: x + lax.stop_gradient(jnp.round(x) - x),
}
FUNCTIONS = {
    **{name: getattr(nn, name) for name in OF_NN},
    **{f"jnp.{name}": getattr(jnp, name) for name in OF_NUMPY},
    **OTHERS,
}
CALLS = ("jit", "pjit", "custom_jvp_call", "custom_vjp_call", "checkpoint", "closed_call")
PARTS = ("split", "slice")  # a gated unit's halves are inputs of their own
ALONG = ("axes", "axis", "dimension", "dimensions")


class _Flat:
    """The equations of a function; every variable is an operand and the array axes that it has."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        closed = jax.make_jaxpr(function)(*args)
        self.steps: list[Step] = []
        self.count, self.parts = 0, False
        self.at: dict[Any, tuple[Any, tuple[int, ...]]] = {}
        for variable in closed.jaxpr.invars:
            self.give(variable)
        (out,) = self.walk(closed, [self.at[v] for v in closed.jaxpr.invars])
        self.end = out[0]

    def give(self, variable: Any) -> None:
        self.at[variable] = Given(self.count), tuple(range(variable.aval.ndim))
        self.count += 1

    def walk(self, closed: Any, args: list[Any]) -> list[Any]:
        inner, consts = getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())
        for variable, value in zip(inner.constvars, consts, strict=True):
            self.at[variable] = np.asarray(value), tuple(range(np.ndim(value)))
        self.at.update(zip(inner.invars, args, strict=True))
        for equation in inner.eqns:
            self.read(equation)
        return [self.operand(v) for v in inner.outvars]

    def operand(self, atom: Any) -> Any:
        return (np.asarray(atom.val), ()) if hasattr(atom, "val") else self.at[atom]

    def read(self, equation: Any) -> None:
        name, params = equation.primitive.name, dict(equation.params)
        read = [self.operand(v) for v in equation.invars]
        if name in CALLS:
            keys = ("jaxpr", "call_jaxpr", "fun_jaxpr")
            inner = next(params[key] for key in keys if key in params)
            self.at.update(zip(equation.outvars, self.walk(inner, read), strict=True))
        elif name in PARTS:
            if not self.parts:
                self.count, self.parts = 0, True
            for variable in equation.outvars:
                self.give(variable)
        elif name in ("broadcast_in_dim", "reshape", "squeeze"):
            self.at[equation.outvars[0]] = self.moved(name, params, read[0], equation)
        else:
            self.step(name, params, read, equation)

    def moved(self, name: str, params: dict[str, Any], read: Any, equation: Any) -> Any:
        operand, axes = read
        rank = equation.outvars[0].aval.ndim
        if name == "squeeze":
            kept = [axis for at, axis in enumerate(axes) if at not in params["dimensions"]]
            return operand, tuple(kept)
        dims = params["broadcast_dimensions"] if name == "broadcast_in_dim" else ()
        assert name == "broadcast_in_dim" or equation.invars[0].aval.size == 1
        to = list(range(rank))
        for dim, axis in zip(dims, axes, strict=True):
            to[dim] = axis
        assert len(set(to)) == rank
        return operand, tuple(to)

    def step(self, name: str, params: dict[str, Any], read: list[Any], equation: Any) -> None:
        axes = max((axes for _, axes in read), key=len)
        for key in ALONG:
            if key in params:
                given = params[key]
                params[key] = axes[given] if isinstance(given, int) else [axes[a] for a in given]
        if "axes" in equation.params:
            axes = tuple(axis for axis in axes if axis not in params["axes"])
        dtypes = tuple(v.aval.dtype for v in equation.invars)
        self.steps.append(Step(name, params, tuple(operand for operand, _ in read), dtypes))
        for number, variable in enumerate(equation.outvars):
            self.at[variable] = Earlier(len(self.steps) - 1, number), axes

    def replayed(self) -> Replayed:
        return Replayed(self.steps, [self.end])


def _in_jax(
    functions: dict[str, Callable[..., Any]], args: dict[str, tuple[Any, ...]]
) -> dict[str, tuple[_Flat, Any, Any, list[Any]]]:
    """Return equations, values, what is sent back and gradients, all in float64, compiled at once."""

    def all_of_them(args: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
        found = {}
        for name, function in functions.items():
            out, back = jax.vjp(function, *args[name])
            sent = jnp.cos(jnp.arange(out.size, dtype=float)).reshape(out.shape)
            found[name] = out, sent, back(sent)
        return found

    with enable_x64(True):
        made = jax.jit(all_of_them)(args)
        flat = {name: _Flat(functions[name], *args[name]) for name in functions}
    return {name: (flat[name], *map(np.asarray, one[:2]), one[2]) for name, one in made.items()}


@cache
def _of_one() -> dict[str, Any]:
    return _in_jax(FUNCTIONS, dict.fromkeys(FUNCTIONS, (LONG,)))


def _compare(found: tuple[_Flat, Any, Any, list[Any]], args: Any) -> None:
    """Compare a replayed function and its gradient to JAX's, at other shapes than were recorded."""
    flat, expected, sent, slopes = found
    replayed = flat.replayed()
    (made,) = replayed(args)
    np.testing.assert_allclose(made.reshape(expected.shape), expected, rtol=1e-11, atol=1e-14)
    pulled = replayed.pull(args, sent.reshape(made.shape))
    for mine, theirs in zip(pulled, slopes, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_one_operand_are_jax_s_and_so_are_their_gradients(name: str) -> None:
    _, expected, sent, slopes = _of_one()[name]
    with enable_x64(True):
        flat = _Flat(FUNCTIONS[name], X)  # recorded for another shape
    _compare((flat, expected, sent, slopes), [LONG])


def test_functions_of_two_operands_are_jax_s() -> None:
    functions = {name: getattr(jnp, name) for name in OF_TWO} | {"glu": None}
    functions["glu"] = lambda x, y: x * nn.sigmoid(y)
    for found in _in_jax(functions, dict.fromkeys(functions, (X, Y))).values():
        _compare(found, [X, Y])


def test_gated_units_are_functions_of_their_halves() -> None:
    both = np.concatenate([X, Y], 1)
    flat, expected, sent, (slopes,) = _in_jax({"glu": nn.glu}, {"glu": (both,)})["glu"]
    assert flat.count == 2
    _compare((flat, expected, sent, np.split(np.asarray(slopes), 2, 1)), [X, Y])


@pytest.mark.parametrize("name", ALONG_UNITS)
def test_functions_along_axes_are_jax_s(name: str) -> None:
    found = _along()[name]
    _compare(found, [X])


@cache
def _along() -> dict[str, Any]:
    return _in_jax(ALONG_UNITS, dict.fromkeys(ALONG_UNITS, (X,)))


def test_a_softmax_is_one_for_rows_of_any_length() -> None:
    replayed = _along()["softmax"][0].replayed()
    (made,) = replayed([LONG])
    powers = np.exp(LONG - LONG.max(1, keepdims=True))
    shares = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(made, shares, rtol=1e-13)
    sent = RNG.standard_normal(LONG.shape)
    expected = shares * (sent - (sent * shares).sum(1, keepdims=True))
    np.testing.assert_allclose(replayed.pull([LONG], sent)[0], expected, atol=1e-14)


def test_choices_stay_booleans() -> None:
    x = np.where(np.arange(12).reshape(3, 4) % 5 == 0, np.nan, X)
    for name in CHOICES:
        function = getattr(jnp, name)
        args = [x] if name in ("isfinite", "isinf", "isnan", "logical_not") else [x, Y]
        with enable_x64(True):
            (made,) = _Flat(function, *args).replayed()(args)
        assert made.dtype == bool
        np.testing.assert_array_equal(made, getattr(np, name)(*args), err_msg=name)


def test_what_was_recorded_in_float32_is_replayed_in_float64() -> None:
    (made,) = _Flat(nn.gelu, X.astype(np.float32)).replayed()([LONG])
    assert made.dtype == np.float64
    inner = np.float32(np.sqrt(2 / np.pi)) * (LONG + np.float32(0.044715) * LONG**3)
    np.testing.assert_allclose(made, LONG * (0.5 * (1 + np.tanh(inner))), rtol=1e-6)
    (half,) = _Flat(nn.silu, jnp.asarray(X, jnp.bfloat16)).replayed()([LONG])
    np.testing.assert_allclose(half, LONG / (1 + np.exp(-LONG)), rtol=1e-12)


def test_at_a_kink_the_gradient_is_that_of_the_primitives() -> None:
    replayed = _Flat(nn.relu, X).replayed()
    assert replayed.pull([np.zeros(1)], np.ones(1))[0] == 0.5
    assert jax.grad(nn.relu)(0.0) == 0.0  # a custom derivative, which no primitive shows


def test_gradients_by_finite_differences() -> None:
    row = np.array([-2.3, -0.4, 0.7, 1.9])
    for name in ("gelu", "mish", "celu", "exact gelu", "a person's own", "log_sigmoid", "jnp.sinc"):
        with enable_x64(True):
            replayed = _Flat(FUNCTIONS[name], np.ones((2, 3))).replayed()
        step = 1e-6
        below, above = (replayed([row + side])[0] for side in (-step, step))
        (pulled,) = replayed.pull([row], np.ones(4))
        np.testing.assert_allclose(pulled, (above - below) / (2 * step), rtol=1e-7, err_msg=name)


def test_what_no_array_reaches_has_zeros_and_constants_are_read() -> None:
    table = np.arange(3.0)
    steps = [
        Step("gt", {}, (Given(1), 0.0)),
        Step("mul", {}, (Given(0), table)),
        Step("select_n", {}, (Earlier(0), Given(0), Earlier(1))),
        Step("floor", {}, (Given(2),)),
        Step("add", {}, (Earlier(2), Earlier(3))),
    ]
    arrays = [np.full(3, 2.0), np.array([-1.0, 1.0, 1.0]), np.full(3, 0.5), np.arange(4)]
    replayed = Replayed(steps)
    assert replayed(arrays)[0].tolist() == [2.0, 2.0, 4.0]
    pulled = replayed.pull(arrays, np.ones(3))
    assert [one.tolist() for one in pulled] == [[1.0, 1.0, 2.0], [0.0] * 3, [0.0] * 3, [0.0] * 4]


def test_several_results_are_given_and_have_no_one_gradient() -> None:
    replayed = Replayed([Step("sort", {"dimension": 0, "num_keys": 1}, (Given(0), Given(1)))])
    keys, others = replayed([np.array([2.0, 1.0]), np.array([5.0, 6.0])])
    assert (keys.tolist(), others.tolist()) == ([1.0, 2.0], [6.0, 5.0])
    with pytest.raises(ReplayError, match="one number for each"):
        replayed.pull([np.ones(2), np.ones(2)], np.ones(2))
    first = Replayed(replayed.steps, [Earlier(0, 1)])
    pulled = first.pull([np.array([2.0, 1.0]), np.array([5.0, 6.0])], np.array([7.0, 8.0]))
    assert [one.tolist() for one in pulled] == [[0.0, 0.0], [8.0, 7.0]]


def test_arrays_that_are_given_stay_their_owner_s() -> None:
    array = np.ones(3)
    (made,) = Replayed([Step("copy", {}, (Given(0),))])([array])
    made += 1
    assert array.tolist() == [1.0, 1.0, 1.0]


def test_what_hands_on_several_operands_hands_on_their_gradients() -> None:
    steps = [
        Step("optimization_barrier", {}, (Given(0), Given(1))),
        Step("mul", {}, (Earlier(0, 0), Earlier(0, 1))),
    ]
    arrays = [np.array([2.0, 3.0]), np.array([5.0, 7.0])]
    assert Replayed(steps)(arrays)[0].tolist() == [10.0, 21.0]
    pulled = Replayed(steps).pull(arrays, np.ones(2))
    assert [one.tolist() for one in pulled] == [[5.0, 7.0], [2.0, 3.0]]


def test_chance_is_refused_in_plain_words() -> None:
    flat = _Flat(lambda x: x * jax.random.uniform(jax.random.key(0), x.shape), X)
    with pytest.raises(ReplayError, match="chance"):
        flat.replayed()([X])


def test_operations_of_a_graph_are_replayed_and_pulled_on_rows() -> None:
    row, sent = np.linspace(-3.0, 3.0, 4096), np.cos(np.arange(4096.0))
    for name, function in {"gelu": nn.gelu, "softmax": nn.softmax}.items():
        with enable_x64(True):
            replayed = _Flat(function, X).replayed()
            grid = row.reshape(2, -1)  # as many axes as were recorded
            expected, back = jax.vjp(function, jnp.asarray(grid))
            (slopes,) = back(jnp.asarray(sent.reshape(2, -1)))
        op = Op(0, name, "other", (0,), (1,), replay=replayed, rank=2, pull=replayed.pull)
        np.testing.assert_allclose(run_ops([op], {0: row})[1], np.ravel(expected), rtol=1e-11)
        (pulled,) = pull_back(op, replayed.pull, [row], sent)
        np.testing.assert_allclose(pulled, np.ravel(slopes), rtol=1e-9, atol=1e-13)

        def play(rows: Any, op: Op = op) -> Any:
            return run_ops([op], {0: rows[0]})[1]

        if name == "gelu":
            elementwise(play, [row], rtol=1e-9, atol=1e-12)
        else:
            with pytest.raises(ReplayError, match="single elements"):
                elementwise(play, [row], rtol=1e-9, atol=1e-12)
