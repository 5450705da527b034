"""Random numbers inside `jax.jit`, with the bits that `isoinit.fill_slice` gives on the processor.

On an accelerator a parameter can be made where it will lie: each device computes its own shard, and
no value crosses from the host. The numbers follow from seed, name and index alone, as everywhere in
isoinit, so that the sharding, the number of devices and the kind of machine make no difference.

`isoinit.jax.philox` has the computation, and `isoinit.jax.rehearsal` says whether a device keeps its
bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from isoinit.errors import ArgumentError
from isoinit.initializers import Initializer, Normal, TruncatedNormal, Uniform
from isoinit.initializers.base import IndependentInitializer
from isoinit.initializers.scale.fans import Layout, vector
from isoinit.jax import philox
from isoinit.jax.arguments import LONGEST, Index, dtype_of, key_of, part_of, real_dtype_of, shape_of


def normal(
    name: str,
    shape: Sequence[int],
    dtype: Any = jnp.float32,
    *,
    seed: int = 0,
    mean: float = 0.0,
    std: float = 1.0,
    start: Sequence[Index] | None = None,
    sizes: Sequence[int] | None = None,
) -> jax.Array:
    """Return normal numbers: those of `isoinit.Normal(mean, std)` for this name and seed.

    Works inside and outside of `jax.jit`, under `shard_map` and with any sharding. `name`, `seed`,
    `mean` and `std` are Python's own values: a new seed compiles anew where it is written into a
    jitted function. Compiled by the GSPMD partitioner, each device computes only its own shard.

    Args:
        name: the parameter's name, which its random numbers depend on.
        shape: of the whole parameter; no axis longer than 2**32.
        dtype: float32, bfloat16, float16, or float64 if JAX's x64 mode is on.
        seed: any integer; 0 by default, as in `isoinit.fill_slice`.
        mean: the mean; 0 by default.
        std: the standard deviation; 1 by default.
        start: where the part begins along each axis, as `jax.lax.dynamic_slice` has it: integers
            or scalars that may be traced, such as ``jax.lax.axis_index("x") * 64``. By default 0.
            Traced ones are not checked: a part has to lie within the whole.
        sizes: the part's shape; by default the whole shape.

    Returns:
        The part, of shape `sizes`.

    Raises:
        ArgumentError: if an argument is of another kind, traced or out of range; if `std` is so
            small that values could be subnormal in float32, below 1.2e-38, which accelerators round
            to zero.

    Source: Salmon et al. 2011 (Philox); Box and Muller 1958.

    Example:
        >>> import isoinit, jax, numpy as np
        >>> from isoinit.jax import normal
        >>> inside = jax.jit(lambda: normal("up.weight", (8, 6), seed=1, std=0.02))()
        >>> out = np.empty((8, 6), np.float32)
        >>> _ = isoinit.fill_slice(out, isoinit.Normal(std=0.02), "up.weight", (8, 6), (), seed=1)
        >>> bool((inside == out).all())
        True
        >>> rows = normal("up.weight", (8, 6), seed=1, std=0.02, start=(4, 0), sizes=(2, 6))
        >>> bool((rows == out[4:6]).all())
        True
    """
    return _of(Normal(mean, std), name, shape, dtype, seed, start, sizes)


def uniform(
    name: str,
    shape: Sequence[int],
    dtype: Any = jnp.float32,
    *,
    seed: int = 0,
    a: float = 0.0,
    b: float = 1.0,
    start: Sequence[Index] | None = None,
    sizes: Sequence[int] | None = None,
) -> jax.Array:
    """Return uniform numbers in [a, b): those of `isoinit.Uniform(a, b)` for this name and seed.

    The other arguments and the errors are those of `normal`.

    Args:
        name: the parameter's name.
        shape: of the whole parameter.
        dtype: of the numbers.
        seed: any integer.
        a: the lower bound; 0 by default.
        b: the upper bound, which no value reaches; 1 by default.
        start: where the part begins along each axis.
        sizes: the part's shape.

    Returns:
        The part, of shape `sizes`.

    Raises:
        ArgumentError: unless a < b; as `normal`.

    Example:
        >>> from isoinit.jax import uniform
        >>> values = uniform("up.weight", (1000,), a=-0.5, b=0.5)
        >>> bool((values >= -0.5).all()), bool((values < 0.5).all())
        (True, True)
    """
    return _of(Uniform(a, b), name, shape, dtype, seed, start, sizes)


def truncated_normal(
    name: str,
    shape: Sequence[int],
    dtype: Any = jnp.float32,
    *,
    seed: int = 0,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    start: Sequence[Index] | None = None,
    sizes: Sequence[int] | None = None,
) -> jax.Array:
    """Return normal numbers between bounds: those of `isoinit.TruncatedNormal(mean, std, a, b)`.

    The other arguments and the errors are those of `normal`.

    Args:
        name: the parameter's name.
        shape: of the whole parameter.
        dtype: of the numbers.
        seed: any integer.
        mean: of the normal before it is cut; 0 by default.
        std: of the normal before it is cut; 1 by default.
        a: the lower bound, in standard deviations from the mean, as `jax.random.truncated_normal` and
            `isoinit.TruncatedNormal` count; -2 by default.
        b: the upper bound; 2 by default.
        start: where the part begins along each axis.
        sizes: the part's shape.

    Returns:
        The part, of shape `sizes`.

    Raises:
        ArgumentError: unless a < b; as `isoinit.TruncatedNormal` and `normal`.

    Example:
        >>> from isoinit.jax import truncated_normal
        >>> values = truncated_normal("up.weight", (1000,), std=0.02)
        >>> bool((abs(values) <= 0.04).all())
        True
    """
    return _of(TruncatedNormal(mean, std, a, b), name, shape, dtype, seed, start, sizes)


def in_graph(
    initializer: Initializer,
    layout: Layout,
    name: str,
    seed: int,
    dtype: Any,
    *,
    sharding: jax.sharding.Sharding | None = None,
) -> Callable[[], jax.Array] | None:
    """Return a function that makes a parameter on its devices; None if only the processor can.

    Only initializers that draw each element by itself have such a form: not `Orthogonal`. Nor have
    complex parameters, axes longer than 2**32, and values that could be subnormal in float32.

    Parameters of one shape, type, distribution and sharding share a compiled program: seeds, names
    and standard deviations are its arguments.

    Args:
        initializer: such as `plan[name].initializer`.
        layout: what the parameter's axes mean, with its shape: `plan[name].layout`.
        name: what its random numbers depend on: `plan[name].key`.
        seed: the plan's.
        dtype: the parameter's.
        sharding: how it will lie on devices; by default what JAX chooses, as inside `jax.jit`.

    Returns:
        A function without arguments, to be called inside or outside of `jax.jit`.

    Raises:
        ArgumentError: if the initializer does not fit the layout or the type, or an argument is
            traced or of another kind.

    Example:
        >>> import isoinit, jax
        >>> from isoinit.initializers.scale import fans
        >>> from isoinit.jax.streams import in_graph
        >>> device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        >>> layout = fans.linear((4, 3))
        >>> make = in_graph(isoinit.HeNormal(), layout, "w", 0, "float32", sharding=device)
        >>> make().shape
        (4, 3)
        >>> in_graph(isoinit.Orthogonal(), layout, "w", 0, "float32") is None
        True
    """
    key, shape, (called, kind) = key_of(seed, name), shape_of(layout.shape), dtype_of(dtype)
    if kind.kind == "c" or max(shape, default=0) > LONGEST:
        return None
    law = initializer.law(layout, kind)
    if law is None or not philox.keeps_clear_of_subnormals(law, called):
        return None
    row = None if layout.padding is None else layout.padding % shape[0]
    form = philox.form_of(law, called, shape, shape, row)
    # One array: each argument is a transfer of its own, to every device.
    numbers = np.array(philox.numbers_of(law, called), philox.computed_in(law, called))
    return lambda: _whole(sharding)(key, numbers, form)


def _of(
    initializer: IndependentInitializer,
    name: str,
    shape: Sequence[int],
    dtype: Any,
    seed: int,
    start: Sequence[Index] | None,
    sizes: Sequence[int] | None,
) -> jax.Array:
    """Draw a part of a parameter, after all arguments are checked."""
    key, whole, (called, kind) = key_of(seed, name), shape_of(shape), real_dtype_of(dtype)
    starts, held = part_of(whole, start, sizes)
    law = initializer.law(vector(whole), kind)
    if not philox.keeps_clear_of_subnormals(law, called):
        raise ArgumentError(
            f"{initializer} can draw subnormal float32 values, below 1.2e-38, which accelerators "
            "round to zero. Use larger values, or isoinit.fill_slice on the CPU"
        )
    form = philox.form_of(law, called, whole, held)
    return _part(key, philox.numbers_of(law, called), starts, form)


_part: Callable[..., jax.Array] = jax.jit(philox.draw, static_argnums=3)


@lru_cache(maxsize=1024)
def _whole(sharding: jax.sharding.Sharding | None) -> Callable[..., jax.Array]:
    """The program for a sharding; JAX keeps one for each form."""
    if sharding is None:
        return jax.jit(philox.draw_whole, static_argnums=2)
    return jax.jit(philox.draw_whole, static_argnums=2, out_shardings=sharding)
