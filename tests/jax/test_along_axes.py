"""Primitives of JAX that work along axes, replayed on NumPy arrays, against JAX in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from isoinit._reading.graph import ReplayError  # noqa: E402
from isoinit._reading.jax import along_axes, numerics  # noqa: E402
from jax_older import enable_x64  # noqa: E402
from jax_reference import equation, in_jax  # noqa: E402

RNG = np.random.default_rng(0)
PLAIN = RNG.standard_normal((3, 4, 5))
BLOCK = PLAIN.copy()
BLOCK[0, 0, :], BLOCK[1, 2, 3] = 9.0, BLOCK[1, 1, 3]  # ties, of the largest, too
HOLES = BLOCK.copy()
HOLES[0, 0, 2], HOLES[1, 1, 1], HOLES[0, 1, 0] = np.nan, np.inf, -0.0
ROUNDED = np.round(HOLES)
ALONG: dict[str, tuple[Callable[..., Any], Sequence[Any]]] = {
    **{
        f"{name} {axes}": (lambda x, n=name, a=axes: getattr(lax, f"reduce_{n}")(x, a), [BLOCK])
        for name, axes in (("max", (1, 2)), ("min", (0,)), ("sum", (0, 2)), ("prod", (0, 1, 2)))
    },
    "cumlogsumexp": (lambda x: lax.cumlogsumexp(x, axis=2), [BLOCK]),
    "cummin": (lambda x: lax.cummin(x, axis=0, reverse=True), [PLAIN]),
    **{
        f"{name} {back}": (lambda x, n=name, b=back: getattr(lax, n)(x, axis=1, reverse=b), [PLAIN])
        for name, back in (
            ("cumsum", False),
            ("cumsum", True),
            ("cumprod", True),
            ("cummax", False),
        )
    },
    "rev": (lambda x: lax.rev(x, (0, 2)), [BLOCK]),
    "sort": (lambda x: lax.sort(x, dimension=1), [BLOCK]),
}
PLACES: dict[str, tuple[Callable[..., Any], Sequence[Any]]] = {
    "argmax": (lambda x: lax.argmax(x, 1, np.int32), [HOLES]),
    "argmin": (lambda x: lax.argmin(x, 2, np.int32), [HOLES]),
    "and": (lambda x: lax.reduce_and(x, (1,)), [HOLES > 0]),
    "or": (lambda x: lax.reduce_or(x, (1,)), [HOLES > 1]),
    "xor": (lambda x: lax.reduce_xor(x, (1,)), [HOLES > 0]),
    "sum of integers": (
        lambda x: lax.reduce_sum(x, (1,)),
        [20 * np.arange(12, dtype=np.int8).reshape(3, 4)],  # past 127
    ),
    "cumsum of integers": (lambda x: lax.cumsum(x, axis=0), [100 * np.ones(4, np.int8)]),
    "sort holes": (lambda x: lax.sort(x, dimension=1), [HOLES]),
}


def _with_dims(array: Any, params: dict[str, Any]) -> Any:
    return np.expand_dims(array, params["axes"]) if "axes" in params else array


def test_primitives_along_axes_are_jax_s_and_reductions_keep_their_axes() -> None:
    functions = {key: function for key, (function, _) in ALONG.items()}
    args = {key: args for key, (_, args) in ALONG.items()}
    for key, (name, params, expected, slopes) in in_jax(functions, args).items():
        (made,) = numerics.replay(name, params, args[key])
        np.testing.assert_allclose(made, _with_dims(expected, params), rtol=1e-12, err_msg=key)
        (pulled,) = numerics.pull(name, params, args[key], [np.full(made.shape, 1.5)])
        np.testing.assert_allclose(pulled, slopes[0], rtol=1e-9, atol=1e-12, err_msg=key)


def test_places_and_logical_reductions_are_jax_s() -> None:
    functions = {key: function for key, (function, _) in PLACES.items()}
    args = {key: args for key, (_, args) in PLACES.items()}
    for key, (name, params, expected, _) in in_jax(functions, args, smooth=False).items():
        (made,) = numerics.replay(name, params, args[key])
        assert made.dtype == expected.dtype
        np.testing.assert_array_equal(made, _with_dims(expected, params), err_msg=key)
        (pulled,) = numerics.pull(name, params, args[key], [np.zeros(made.shape)])
        assert not pulled.any()


@pytest.mark.parametrize("keys", [1, 2])
def test_sorts_of_several_and_the_largest_are_jax_s(keys: int) -> None:
    arrays = [ROUNDED, BLOCK, BLOCK + 1]
    with enable_x64(True):
        sort, by = equation(lambda *a: tuple(lax.sort(a, dimension=2, num_keys=keys)), *arrays)
        expected = lax.sort(tuple(map(jnp.asarray, arrays)), dimension=2, num_keys=keys)
        largest, top = equation(lambda x: lax.top_k(x, 3), HOLES)
        highest, back = jax.vjp(lambda x: lax.top_k(x, 3)[0], jnp.asarray(BLOCK))
        (slopes,) = back(jnp.full(highest.shape, 2.0))
        chosen = lax.top_k(jnp.asarray(HOLES), 3)
    for mine, theirs in zip(numerics.replay(sort, by, arrays), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(numerics.replay(largest, top, [HOLES]), chosen, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    (pulled,) = numerics.pull(largest, top, [BLOCK], [np.full(highest.shape, 2.0), None])
    np.testing.assert_array_equal(pulled, slopes)
    with pytest.raises(ReplayError, match="3 largest of 2"):
        numerics.replay(largest, top, [HOLES[..., :2]])


def test_the_sets_name_what_is_tested_here() -> None:
    along = {name.split()[0] for name in ALONG} | {"argmax", "argmin", "top_k"}
    named = along | {f"reduce_{name}" for name in "max min sum prod and or xor".split()}
    assert named >= along_axes.NAMES | numerics.KEEPS_DIMS


def test_a_product_with_zeros_has_the_products_of_the_others_as_its_gradient() -> None:
    row = np.array([2.0, 0.0, 3.0])
    (pulled,) = numerics.pull("reduce_prod", {"axes": (0,)}, [row], [np.ones(1)])
    assert pulled.tolist() == [0.0, 6.0, 0.0]
    running = {"axis": 0, "reverse": False}
    (pulled,) = numerics.pull("cumprod", running, [row], [np.ones(3)])
    assert pulled.tolist() == [1.0, 2.0 + 6.0, 0.0]
