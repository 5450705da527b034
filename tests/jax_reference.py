"""What JAX makes of functions in float64, for tests of what replays them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jax_older import enable_x64


def equation(function: Callable[..., Any], *args: Any) -> tuple[str, dict[str, Any]]:
    """Return the one primitive of a function and its parameters."""
    import jax

    (equation,) = jax.make_jaxpr(function)(*args).eqns
    return equation.primitive.name, equation.params


def in_jax(
    functions: dict[str, Callable[..., Any]], args: dict[str, Sequence[Any]], smooth: bool = True
) -> dict[str, Any]:
    """Return equation, values, cotangent and gradients of functions: all of them compiled at once."""
    import jax
    import jax.numpy as jnp

    def all_of_them(args: Any) -> dict[str, Any]:
        found = {}
        for name, function in functions.items():
            if not smooth:
                found[name] = function(*args[name]), ()
                continue
            out, back = jax.vjp(function, *args[name])
            found[name] = out, back(jnp.full(out.shape, 1.5)) if out.dtype == float else ()
        return found

    with enable_x64(True):
        made = jax.jit(all_of_them)(args)
        return {
            name: (
                *equation(functions[name], *args[name]),
                np.asarray(out),
                [np.asarray(one) for one in back],
            )
            for name, (out, back) in made.items()
        }


def cast(x: Any, dtype: Any) -> Any:
    """Return the primitive cast of numbers, which JAX's own functions leave out where they can."""
    import jax.numpy as jnp
    from jax import lax

    plain = {"new_dtype": np.dtype(dtype), "weak_type": False, "sharding": None}
    return lax.convert_element_type_p.bind(jnp.asarray(x), **plain)
