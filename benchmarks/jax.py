"""Filling arrays of JAX by a plan, against `jax.nn.initializers` as they are and jitted.

On one device, and sharded over four by two that JAX makes of one processor. Only a jitted peer takes a
sharding. Sharded orthogonal matrices are left out: each device of the peer factors the whole matrix,
and eight of them on one processor get in each other's way (45 s were seen), as eight GPUs would not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
}

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

import isoinit
from benchmarks.timing import Row, compare, emit
from isoinit._writing.entry import Entry
from isoinit.initializers.scale import fans

Draw = Callable[[Any], jax.Array]


def filling(
    made: isoinit.Initializer,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    repeats: int,
    *,
    shards: bool = True,
) -> list[Row]:
    """A row for each way to call the peer."""
    layout = fans.linear(shape, transposed=True)
    plan = isoinit.Plan({"w": Entry("w", "", made, layout, dtype, "", "", True)})
    params = {"w": jax.ShapeDtypeStruct(shape, dtype)}
    peer = getattr(jax.nn.initializers, name)()
    key = jax.random.key(0)
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
    sharded = NamedSharding(mesh, PartitionSpec("x", "y"))

    def ours(sharding: Sharding | None) -> None:
        jax.block_until_ready(plan.fill(params, sharding=sharding))

    def theirs(draw: Draw) -> None:
        draw(key).block_until_ready()

    def draw(key: Any) -> jax.Array:
        made: jax.Array = peer(key, shape, dtype)
        return made

    case = f"{type(made).__name__} {shape[0]}², {dtype}"
    ways: list[tuple[str, Sharding | None, str, Draw]] = [
        ("one device", None, name, draw),
        ("one device", None, f"{name}, jitted", jax.jit(draw)),
        ("eight shards", sharded, f"{name}, jitted", jax.jit(draw, out_shardings=sharded)),
    ]
    return [
        compare(f"{case}, {where}", partial(ours, sharding), said, partial(theirs, call), repeats)
        for where, sharding, said, call in ways[: 3 if shards else 2]
    ]


def rows() -> list[Row]:
    """Fills; the peer knows no orthogonal matrices in bfloat16."""
    found = []
    for dtype in ("float32", "bfloat16"):
        found += filling(isoinit.HeNormal(), "he_normal", (4096, 4096), dtype, 5)
    shape = (2048, 2048)
    found += filling(isoinit.Orthogonal(), "orthogonal", shape, "float32", 5, shards=False)
    return found


if __name__ == "__main__":
    emit(rows())
