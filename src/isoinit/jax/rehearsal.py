"""Whether a device computes the bits of the processor: what compiles a computation may break them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import numpy as np

from isoinit._writing.slice import fill_slice
from isoinit.initializers import Normal, TruncatedNormal, Uniform
from isoinit.initializers.base import IndependentInitializer
from isoinit.initializers.scale.fans import vector
from isoinit.jax import philox
from isoinit.jax.arguments import key_of, real_dtype_of

# Counters beyond 2**32 and parts of blocks; each distribution, and each way through its polynomials.
_WHOLE: Final = (2**24, 2**20)
_PART: Final = (slice(2**23 + 5, 2**23 + 69), slice(7, 7 + 1024))
_REHEARSED: Final = (
    Normal(std=0.02),
    Normal(mean=1.0, std=0.3),
    Uniform(-0.1, 0.1),
    TruncatedNormal(std=0.02),
    TruncatedNormal(a=2.5, b=9.0),
)
_exact: Final[dict[tuple[str, str, str], bool]] = {}


def exact_on(device: jax.Device, dtype: Any = "float32") -> bool:
    """Return whether a device computes the bits of the processor, by a rehearsal.

    The device draws 65,536 elements of five distributions, which are compared with those of
    `isoinit.fill_slice`. The answer is kept for devices of its kind, as long as the process lives.
    The first time, this compiles five programs.

    Args:
        device: one of this process, such as `jax.local_devices()[0]`.
        dtype: of the parameters; each has a rehearsal of its own.

    Returns:
        True if no bit differs.

    Raises:
        ArgumentError: if the type is none of `normal`'s.

    Example:
        >>> import jax
        >>> from isoinit.jax import exact_on
        >>> exact_on(jax.devices("cpu")[0])
        True
    """
    kind = device.platform, device.device_kind, real_dtype_of(dtype)[0]
    if kind not in _exact:
        _exact[kind] = rehearse(device, dtype)
    return _exact[kind]


def rehearse(device: jax.Device, dtype: Any, draw: Callable[..., Any] = philox.draw) -> bool:
    """Return what `exact_on` does, without keeping it; `draw` computes the numbers."""
    program = jax.jit(draw, static_argnums=3)
    return all(_agrees(program, device, dtype, initializer) for initializer in _REHEARSED)


def _agrees(
    program: Callable[..., Any], device: jax.Device, dtype: Any, initializer: IndependentInitializer
) -> bool:
    name, (called, kind) = "isoinit.rehearsal", real_dtype_of(dtype)
    sizes = tuple(part.stop - part.start for part in _PART)
    law = initializer.law(vector(sizes), kind)
    starts = tuple(np.uint32(part.start) for part in _PART)
    data = jax.device_put((key_of(0, name), philox.numbers_of(law, called), starts), device)
    found = np.asarray(program(*data, philox.form_of(law, called, _WHOLE, sizes)))
    expected = np.empty(sizes, kind)
    fill_slice(expected, initializer, name, _WHOLE, _PART)
    return found.tobytes() == expected.tobytes()
