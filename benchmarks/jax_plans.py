"""Planning a Llama of 6.7 G parameters in JAX, from shapes alone, beside tracing it once.

Its 32 blocks are written one after the other, and as a scan over stacked parameters. The trace
(`jax.make_jaxpr`) is a yardstick and no rival: every plan begins with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import isoinit.jax as ij
from benchmarks.timing import Row, compare, emit

BLOCKS, WIDTH, HEADS, HIDDEN, TOKENS = 32, 4096, 32, 11008, 32000
Params = Mapping[str, Any]


def rows() -> list[Row]:
    tokens = jax.ShapeDtypeStruct((2, 128), jnp.int32)
    found = []
    for case, model, params in (
        ("32 blocks", unrolled, [block() for _ in range(BLOCKS)]),
        ("32 blocks in a scan", scanned, block(BLOCKS)),
    ):
        tree = {"in": shape(TOKENS, WIDTH), "blocks": params, "out": shape(WIDTH, TOKENS)}
        plan: Callable[[], object] = partial(ij.plan, model, tree, tokens)
        trace: Callable[[], object] = partial(traced_anew, model, tree, tokens)
        found.append(compare(case, plan, "one trace", trace, 3))
    return found


def traced_anew(model: Callable[..., Any], *arguments: Any) -> object:
    """Trace a model; JAX keeps what it traced for a function, and gets another one each time."""
    return jax.make_jaxpr(lambda *given: model(*given))(*arguments)


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.bfloat16)


def block(*layers: int) -> dict[str, jax.ShapeDtypeStruct]:
    head = (HEADS, WIDTH // HEADS)
    return {
        "norm": shape(*layers, WIDTH),
        **{name: shape(*layers, WIDTH, *head) for name in "qkv"},
        "o": shape(*layers, *head, WIDTH),
        "norm2": shape(*layers, WIDTH),
        **{name: shape(*layers, WIDTH, HIDDEN) for name in ("gate", "up")},
        "down": shape(*layers, HIDDEN, WIDTH),
    }


def normed(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * scale


def applied(x: jax.Array, p: Params) -> jax.Array:
    y = normed(x, p["norm"])
    q, k, v = (jnp.einsum("btd,dhn->bthn", y, p[name]) for name in "qkv")
    attended = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    x = x + jnp.einsum("bthn,hnd->btd", attended, p["o"])
    y = normed(x, p["norm2"])
    return x + (jax.nn.silu(y @ p["gate"]) * (y @ p["up"])) @ p["down"]


def unrolled(params: Params, tokens: jax.Array) -> jax.Array:
    x = params["in"][tokens]
    for one in params["blocks"]:
        x = applied(x, one)
    return x @ params["out"]


def scanned(params: Params, tokens: jax.Array) -> jax.Array:
    x, _ = jax.lax.scan(
        lambda x, one: (applied(x, one), None), params["in"][tokens], params["blocks"]
    )
    return x @ params["out"]


if __name__ == "__main__":
    emit(rows())
