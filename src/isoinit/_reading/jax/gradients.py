"""The exact gradients of replayed primitives: a table for common ones, and JAX's own in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isoinit._reading.graph import Array, ReplayError, first_line
from isoinit._reading.jax.numerics import KEEPS_DIMS, Params, primitive, replay

# From the arrays, the result and the gradient by it to the gradients by the arrays.
Pull = Callable[[Sequence[Array], Array, Array], Sequence[Any]]
JUMPS = frozenset(
    """eq ne lt le gt ge and or not xor sign floor ceil round is_finite argmax argmin stop_gradient
    reduce_and reduce_or population_count clz nextafter""".split()
)


def _larger(sign: float) -> Pull:
    """Return the pull of `max`, or of `min`: equal ones share the gradient, as JAX has it."""

    def pull(arrays: Sequence[Array], _made: Array, g: Array) -> Sequence[Any]:
        a, b = arrays
        first = np.where(a == b, 0.5, (a - b) * sign > 0)
        return [g * first, g * (1 - first)]

    return pull


def _chosen(arrays: Sequence[Array], _made: Array, g: Array) -> Sequence[Any]:
    which, *cases = arrays
    return [np.zeros(which.shape), *[g * (which == place) for place in range(len(cases))]]


def _clamped(arrays: Sequence[Array], _made: Array, g: Array) -> Sequence[Any]:
    low, x, high = arrays
    return [g * (x < low), g * ((x > low) & (x < high)), g * (x > high)]


TABLE: dict[str, Pull] = {
    "abs": lambda a, y, g: [g * np.sign(a[0])],
    "add": lambda a, y, g: [g, g],
    "add_any": lambda a, y, g: [g, g],
    "clamp": _clamped,
    "cos": lambda a, y, g: [-g * np.sin(a[0])],
    "copy": lambda a, y, g: [g],
    "div": lambda a, y, g: [g / a[1], -g * y / a[1]],
    "exp": lambda a, y, g: [g * y],
    "expm1": lambda a, y, g: [g * (y + 1)],
    "log": lambda a, y, g: [g / a[0]],
    "log1p": lambda a, y, g: [g / (1 + a[0])],
    "logistic": lambda a, y, g: [g * y * (1 - y)],
    "max": _larger(1.0),
    "min": _larger(-1.0),
    "mul": lambda a, y, g: [g * a[1], g * a[0]],
    "neg": lambda a, y, g: [-g],
    "reduce_precision": lambda a, y, g: [g],
    "reduce_sum": lambda a, y, g: [np.broadcast_to(g, a[0].shape)],
    "rsqrt": lambda a, y, g: [-0.5 * g * y / a[0]],
    "select_n": _chosen,
    "sin": lambda a, y, g: [g * np.cos(a[0])],
    "sqrt": lambda a, y, g: [0.5 * g / y],
    "square": lambda a, y, g: [2 * g * a[0]],
    "sub": lambda a, y, g: [g, -g],
    "tanh": lambda a, y, g: [g * (1 - y * y)],
}


def pull(name: str, params: Params, arrays: Sequence[Array], gradient: Array) -> list[Array]:
    """Return the gradients of `replay` by its arrays, given that by what it makes.

    A jump has none, nor have booleans and integers: theirs are zeros.

    Raises:
        ReplayError: if the primitive has no gradient, or cannot be replayed.

    Example:
        >>> pull("mul", {}, [np.array([2.0]), np.array([3.0])], np.array([1.0]))
        [array([3.]), array([2.])]
    """
    given = [np.asarray(array) for array in arrays]
    if name in JUMPS:
        return [np.zeros(array.shape) for array in given]
    with np.errstate(all="ignore"):
        if name == "integer_pow":
            power = params["y"]
            found: Sequence[Any] = [gradient * power * np.power(given[0], float(power - 1))]
        elif name == "convert_element_type":
            found = [gradient if np.dtype(params["new_dtype"]).kind not in "biu" else 0 * gradient]
        elif name in TABLE:
            found = TABLE[name](given, replay(name, params, given)[0], gradient)
        else:
            found = _by_jax(name, params, given, gradient)
    return [
        _summed(np.asarray(one, np.float64), array.shape)
        if array.dtype.kind == "f"
        else np.zeros(array.shape)
        for one, array in zip(found, given, strict=True)
    ]


def _summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Return a gradient summed over the axes along which an array was broadcast."""
    if gradient.shape == shape:
        return gradient
    new = gradient.ndim - len(shape)
    gone = tuple(range(new)) + tuple(
        axis + new
        for axis, size in enumerate(shape)
        if size == 1 and gradient.shape[axis + new] > 1
    )
    return (
        np.broadcast_to(gradient.sum(axis=gone, keepdims=False), shape)
        if not shape
        else (gradient.sum(axis=gone).reshape(shape) if gone else np.broadcast_to(gradient, shape))
    )


def _by_jax(name: str, params: Params, arrays: Sequence[Array], gradient: Array) -> list[Array]:
    """Return JAX's own gradient in float64."""
    import jax
    import jax.numpy as jnp

    def function(*given: Any) -> Any:
        common = jnp.broadcast_arrays(*given) if name not in KEEPS_DIMS else given
        made = primitive(name).bind(*common, **params)
        return made.reshape(gradient.shape) if name in KEEPS_DIMS else made

    try:
        with jax.enable_x64(True):
            _, back = jax.vjp(function, *[jnp.asarray(array) for array in arrays])
            return [np.asarray(one) for one in back(jnp.asarray(gradient))]
    except Exception as error:  # JAX has no derivative for it, or not with these shapes
        raise ReplayError(f"has no gradient: {first_line(error)}") from error
