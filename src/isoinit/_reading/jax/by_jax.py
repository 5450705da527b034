"""Primitives that are not written down here: run by JAX itself, in float64 on the processor.

Each takes XLA 30 to 100 ms for every new shape. Only elementwise primitives are run: that is measured
once for each, since a primitive says it nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from isoinit._reading.graph import ReplayError, first_line
from isoinit._reading.jax.elementwise import Params, Values, kind_of

CHANCE = frozenset(
    "random_bits random_clone random_fold_in random_gamma random_seed random_split random_unwrap"
    " random_wrap rng_bit_generator rng_uniform threefry2x32".split()
)
BITS = frozenset({"bitcast_convert_type"})  # of float64 they are others
PLAIN = (type(None), bool, float, str, Enum)


def values(name: str, params: Params, arrays: Sequence[Values]) -> list[Values]:
    """Return what an elementwise primitive makes of arrays.

    Raises:
        ReplayError: if it is none, or JAX cannot run it on these arrays.
    """
    run = _runner(name, params)
    if not _is_elementwise(name, tuple(params.items()), tuple(a.dtype.str for a in arrays)):
        raise ReplayError("is no function of single elements")
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    with _in_float64():
        try:
            return [np.asarray(run(*(np.broadcast_to(array, shape) for array in arrays)))]
        except Exception as error:  # whatever JAX raises on other shapes or dtypes
            raise ReplayError(f"cannot be replayed: {first_line(error)}") from error


def gradients(
    name: str, params: Params, arrays: Sequence[Values], wanted: Sequence[bool], sent: Values
) -> list[Values]:
    """Return the gradients by the wanted arrays, in the order of these; by the others zeros.

    Args:
        name: that of a primitive, elementwise or along an axis that it names.
        params: those of its equation.
        arrays: what it reads.
        wanted: by which of them a gradient is asked for.
        sent: the gradient by its one result.

    Raises:
        ReplayError: if JAX has no derivative for it.
    """
    import jax

    primitive = _primitive(name)
    shape = sent.shape
    found = [np.zeros(shape) for _ in arrays]
    places = [place for place, asked in enumerate(wanted) if asked]
    given: list[Any] = [np.broadcast_to(array, shape) for array in arrays]

    def function(*some: Any) -> Any:
        arrays = dict(enumerate(given)) | dict(zip(places, some, strict=True))
        return primitive.bind(*arrays.values(), **_wide(params))

    with _in_float64():
        try:
            # The rules of gradients use operators that NumPy's arrays lose in JAX 0.8.
            given = [jax.device_put(array) for array in given]
            _, back = jax.vjp(function, *(given[place] for place in places))
            pulled = back(np.asarray(sent, np.float64))
        except Exception as error:  # JAX has no derivative for it, and says so in many ways
            raise ReplayError(f"has no gradient: {first_line(error)}") from error
        for place, array in zip(places, pulled, strict=True):
            found[place] = np.asarray(array)
    return found


def _runner(name: str, params: Params) -> Callable[..., Any]:
    """Return a primitive as a function, if nothing about it depends on the recorded shapes.

    Raises:
        ReplayError: if something does, or no such primitive is known.
    """
    if name in CHANCE:
        raise ReplayError("uses chance")
    if name in BITS:
        raise ReplayError("reads the bits of numbers")
    for key, value in params.items():
        if not isinstance(value, PLAIN) and not _is_dtype(value):
            has_shape = isinstance(value, (int, tuple, list)) and not hasattr(value, "jaxpr")
            what = "shapes of its own" if has_shape else "parameters of its own"
            raise ReplayError(f"has {what}: {key}")
    primitive, wide = _primitive(name), _wide(params)
    if primitive.multiple_results:
        raise ReplayError("has several results")
    return lambda *arrays: primitive.bind(*arrays, **wide)


@cache
def _primitives() -> dict[str, Any]:
    """Return the primitives that JAX has by name; none is private."""
    from jax import lax
    from jax.extend.core import primitives

    found = [getattr(room, key) for room in (lax, primitives) for key in dir(room)]
    return {one.name: one for one in found if hasattr(one, "multiple_results")}


def _primitive(name: str) -> Any:
    """Return the primitive of a name.

    Raises:
        ReplayError: if JAX has none of that name, or it is private.
    """
    if name not in _primitives():
        raise ReplayError(f"is no primitive of JAX that is known: {name}")
    return _primitives()[name]


def _is_dtype(value: Any) -> bool:
    return isinstance(value, (np.dtype, type))


def _wide(params: Params) -> dict[str, Any]:
    """Return parameters in which every floating-point dtype is float64."""
    return {
        key: np.dtype(np.float64) if _is_dtype(value) and kind_of(value) == "float" else value
        for key, value in params.items()
    }


@cache
def _is_elementwise(name: str, params: tuple[tuple[str, Any], ...], dtypes: Sequence[str]) -> bool:
    """Return whether a primitive makes of every element by itself what it makes of it among others."""
    run, rng = _runner(name, dict(params)), np.random.default_rng(0)
    few = [((rng.permutation(6) + 1.5) / 4).reshape(2, 3).astype(dtype) for dtype in dtypes]
    with _in_float64():
        try:
            whole = np.asarray(run(*few))
            if whole.shape != (2, 3):
                return False
            one = [np.asarray(run(*(a.ravel()[[i]] for a in few))).ravel() for i in range(6)]
        except Exception:  # it works on matrices, or on vectors, or on other dtypes
            return False
    return np.allclose(whole.ravel(), np.concatenate(one), rtol=1e-12, atol=0, equal_nan=True)


@contextmanager
def _in_float64() -> Iterator[None]:
    """Let JAX compute in float64, on the processor, and now, even where it is tracing."""
    import jax

    room: Any = jax
    if not hasattr(jax, "enable_x64"):  # older versions of JAX
        from jax import experimental as room
    try:
        processor = jax.devices("cpu")[0]
    except RuntimeError as error:
        raise ReplayError("needs JAX on the processor, which is switched off") from error
    with room.enable_x64(True), jax.default_device(processor), jax.ensure_compile_time_eval():
        yield
