"""The arguments of a draw inside a graph: checked, before anything is computed."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from isoinit._drawing.streams import Stream, laws
from isoinit._drawing.streams.philox import key_words
from isoinit.errors import ArgumentError

Index: TypeAlias = "int | jax.Array"

LONGEST: Final = 2**32
"""An axis: its indices are uint32."""

_MOST: Final = 2**62  # elements: a stream's counter goes no further


def key_of(seed: Any, name: Any) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The words of the stream's key."""
    for argument, value in (("seed", seed), ("name", name)):
        if isinstance(value, jax.core.Tracer):
            raise ArgumentError(
                f"{argument} is traced; expected a Python value, because it is needed before "
                f"compilation. Make it a static argument (static_argnames=({argument!r},))"
            )
    if not isinstance(name, str):
        raise ArgumentError(f"name={name!r}; expected a string, such as the parameter's name")
    try:
        number = operator.index(seed)
    except TypeError:
        raise ArgumentError(f"seed={seed!r}; expected an integer") from None
    return np.array(key_words(Stream(number, name).key()), np.uint32)


def dtype_of(dtype: Any) -> tuple[str, np.dtype[Any]]:
    """Return a type's name as plans write it, and the type of the arrays that stand for it."""
    try:
        name = str(jnp.dtype(dtype).name)
    except TypeError:
        name = str(dtype)
    kind = laws.dtype_named(name)
    if kind is None:
        raise ArgumentError(f"dtype is {name}; expected float32, bfloat16, float16 or float64")
    if name == "float64" and jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ArgumentError(
            "dtype is float64, but JAX's x64 mode is off. Call "
            'jax.config.update("jax_enable_x64", True), or choose float32'
        )
    return name, kind


def real_dtype_of(dtype: Any) -> tuple[str, np.dtype[Any]]:
    """Return the same of a real type."""
    name, kind = dtype_of(dtype)
    if kind.kind == "c":
        raise ArgumentError(f"dtype is {name}; expected float32, bfloat16, float16 or float64")
    return name, kind


def shape_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape of Python's integers."""
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        raise ArgumentError(f"shape={shape!r}; expected one integer for each axis") from None
    if min(sizes, default=0) < 0 or math.prod(sizes) > _MOST:
        raise ArgumentError(
            f"shape {sizes} has {math.prod(sizes):.3g} elements; expected at most 2**62, and no axis "
            "below 0"
        )
    return sizes


def part_of(
    shape: tuple[int, ...], start: Sequence[Index] | None, sizes: Sequence[int] | None
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Return where a part begins and its shape."""
    if max(shape, default=0) > LONGEST:
        raise ArgumentError(f"shape {shape} has an axis longer than 2**32. Split it into two axes")
    held = shape if sizes is None else shape_of(sizes)
    firsts = (0,) * len(shape) if start is None else tuple(start)
    if not len(firsts) == len(held) == len(shape):
        raise ArgumentError(
            f"start={start!r}, sizes={sizes!r}: expected one start and one size for each axis of "
            f"{shape}"
        )
    starts = []
    for axis, (first, size, whole) in enumerate(zip(firsts, held, shape, strict=True)):
        if isinstance(first, jax.Array):
            if first.shape or not jnp.issubdtype(first.dtype, jnp.integer):
                raise ArgumentError(f"start[{axis}]={first!r}; expected an integer")
            starts.append(first.astype(np.uint32))
            continue
        try:
            number = operator.index(first)
        except TypeError:
            raise ArgumentError(f"start[{axis}]={first!r}; expected an integer") from None
        if not 0 <= number <= whole - size:
            raise ArgumentError(
                f"axis {axis}: {size} elements from index {number}; expected a range within its "
                f"{whole} elements"
            )
        starts.append(np.uint32(number % LONGEST))
    return tuple(starts), held
