"""Normals made inside `jax.jit`, beside `jax.random.normal` and what the processor hands over.

On a processor and on whatever accelerator JAX finds. The first call traces and compiles.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import isoinit
from benchmarks.timing import Row, compare, emit, timed_first
from isoinit.initializers.scale import fans
from isoinit.jax.streams import in_graph

SHAPES = ((1000, 1000), (4096, 4096))


def rows(device: jax.Device, dtype: str) -> list[Row]:
    sharding = jax.sharding.SingleDeviceSharding(device)
    found = []
    for shape in SHAPES:
        case = f"{device.device_kind}, {dtype} {shape}"
        ours, theirs = inside(shape, dtype, sharding), random(shape, dtype, sharding)
        first = Row(
            f"{case}, first call", "jax.random.normal", timed_first(ours), timed_first(theirs)
        )
        callback = handed_over(shape, dtype, sharding)
        found += [first, compare(case, ours, "jax.random.normal", theirs)]
        found.append(compare(case, ours, "fill_slice in a callback", callback))
    return found


def inside(
    shape: tuple[int, ...], dtype: str, sharding: jax.sharding.Sharding
) -> Callable[[], object]:
    layout = fans.linear(shape)
    make = in_graph(isoinit.Normal(std=0.02), layout, "w", 0, dtype, sharding=sharding)
    assert make is not None, "normals are drawn one by one"
    return lambda: make().block_until_ready()


def random(
    shape: tuple[int, ...], dtype: str, sharding: jax.sharding.Sharding
) -> Callable[[], object]:
    key = jax.device_put(jax.random.key(0), sharding)
    draw = jax.jit(lambda key: 0.02 * jax.random.normal(key, shape, dtype), out_shardings=sharding)
    return lambda: draw(key).block_until_ready()


def handed_over(
    shape: tuple[int, ...], dtype: str, sharding: jax.sharding.Sharding
) -> Callable[[], object]:
    normal = isoinit.Normal(std=0.02)

    def part(slices: tuple[slice, ...]) -> np.ndarray:
        spans = (one.indices(size) for one, size in zip(slices, shape, strict=True))
        out = np.empty([last - first for first, last, _ in spans], jnp.dtype(dtype))
        return isoinit.fill_slice(out, normal, "w", shape, slices)

    return lambda: jax.make_array_from_callback(shape, sharding, part).block_until_ready()


if __name__ == "__main__":
    devices = {d.device_kind: d for d in (*jax.devices("cpu"), *jax.devices())}
    emit(
        [
            row
            for d in devices.values()
            for dtype in ("float32", "bfloat16")
            for row in rows(d, dtype)
        ]
    )
