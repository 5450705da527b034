"""Attention with rotary places, with fewer keys than queries, and with kernels in heads."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from flax import linen
from torch import nn

from jax_twins.attention import Attention, heads_of, merged
from jax_twins.twin import (
    Names,
    Twin,
    affine,
    alike,
    dense,
    heads_in,
    heads_out,
    normals,
    reshaped,
    same,
    tensors,
    together,
    tokens,
)
from jax_twins.values import blank, built_equinox, built_linen

WIDTH, HEADS, GROUPS, LENGTH, DEPTH = 32, 4, 2, 12, 2
SIZE = WIDTH // HEADS
IDS = tokens(2, LENGTH, below=40)
ANGLES = np.outer(np.arange(LENGTH), 10000.0 ** (-np.arange(0, SIZE, 2) / SIZE))
COS, SIN = (np.tile(f(ANGLES), 2).astype(np.float32) for f in (np.cos, np.sin))


class LlamaBlockTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH, eps=1e-5), nn.RMSNorm(WIDTH, eps=1e-5)
        self.q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.k = nn.Linear(WIDTH, GROUPS * SIZE, bias=False)
        self.v = nn.Linear(WIDTH, GROUPS * SIZE, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate = nn.Linear(WIDTH, 48, bias=False)
        self.up = nn.Linear(WIDTH, 48, bias=False)
        self.down = nn.Linear(48, WIDTH, bias=False)

    def forward(self, x):
        def rotated(x):
            a, b = x.chunk(2, -1)
            return x * torch.from_numpy(COS) + torch.cat([-b, a], -1) * torch.from_numpy(SIN)

        h = self.norm1(x)
        q, k, v = (
            heads_of(part(h), heads)
            for part, heads in ((self.q, HEADS), (self.k, GROUPS), (self.v, GROUPS))
        )
        k, v = (part.repeat_interleave(HEADS // GROUPS, 1) for part in (rotated(k), v))
        mixed = F.scaled_dot_product_attention(rotated(q), k, v, is_causal=True)
        x = x + self.out(merged(mixed))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class LlamaTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, WIDTH)
        self.blocks = nn.ModuleList([LlamaBlockTorch() for _ in range(DEPTH)])
        self.norm = nn.RMSNorm(WIDTH, eps=1e-5)
        self.head = nn.Linear(WIDTH, 40, bias=False)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def bare(n_in: int, n_out: int, key: Any) -> eqx.nn.Linear:
    return eqx.nn.Linear(n_in, n_out, use_bias=False, key=key)


class LlamaBlock(eqx.Module):
    norm1: eqx.nn.RMSNorm
    norm2: eqx.nn.RMSNorm
    q: eqx.nn.Linear
    k: eqx.nn.Linear
    v: eqx.nn.Linear
    out: eqx.nn.Linear
    gate: eqx.nn.Linear
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, key) -> None:
        self.norm1 = eqx.nn.RMSNorm(WIDTH, eps=1e-5, use_bias=False)
        self.norm2 = eqx.nn.RMSNorm(WIDTH, eps=1e-5, use_bias=False)
        self.q, self.out = bare(WIDTH, WIDTH, key), bare(WIDTH, WIDTH, key)
        self.k, self.v = (bare(WIDTH, GROUPS * SIZE, key) for _ in range(2))
        self.gate, self.up = bare(WIDTH, 48, key), bare(WIDTH, 48, key)
        self.down = bare(48, WIDTH, key)

    def __call__(self, x):
        def rotated(x):
            a, b = jnp.split(x, 2, -1)
            return x * COS[:, None] + jnp.concatenate([-b, a], -1) * SIN[:, None]

        def split(part, heads):
            return jax.vmap(part)(h).reshape(LENGTH, heads, SIZE)

        h = jax.vmap(self.norm1)(x)
        q, k = rotated(split(self.q, HEADS)), rotated(split(self.k, GROUPS))
        mixed = jax.nn.dot_product_attention(q, k, split(self.v, GROUPS), is_causal=True)
        x = x + jax.vmap(self.out)(mixed.reshape(LENGTH, WIDTH))
        h = jax.vmap(self.norm2)(x)
        h = jax.nn.silu(jax.vmap(self.gate)(h)) * jax.vmap(self.up)(h)
        return x + jax.vmap(self.down)(h)


class Llama(eqx.Module):
    embed: eqx.nn.Embedding
    blocks: list[LlamaBlock]
    norm: eqx.nn.RMSNorm
    head: eqx.nn.Linear

    def __init__(self, key) -> None:
        self.embed = eqx.nn.Embedding(40, WIDTH, key=key)
        self.blocks = [LlamaBlock(key) for _ in range(DEPTH)]
        self.norm = eqx.nn.RMSNorm(WIDTH, eps=1e-5, use_bias=False)
        self.head = bare(WIDTH, 40, key)

    def __call__(self, ids):
        return jax.vmap(self.one)(ids)

    def one(self, ids):
        x = jax.vmap(self.embed)(ids)
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.head)(jax.vmap(self.norm)(x))


def llama_names() -> Names:
    parts = ("norm1", "norm2", "q", "k", "v", "out", "gate", "up", "down")
    blocks = [f"blocks.{i}.{part}" for i in range(DEPTH) for part in parts]
    return together(*(alike(n, n, bias=False) for n in ["embed", *blocks, "norm", "head"]))


SEQUENCES = normals(2, 10, WIDTH)


class MixedTorch(nn.Module):
    """Two layers of attention with a residual each, without norms."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Attention(WIDTH, HEADS, bias=bias) for _ in range(2)])
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x.mean(1))


class General(linen.Module):
    """Projections by `DenseGeneral`, to heads and back."""

    @linen.compact
    def __call__(self, x):
        for i in range(2):
            q, k, v = (linen.DenseGeneral((HEADS, SIZE), name=f"{name}_{i}")(x) for name in "qkv")
            mixed = linen.dot_product_attention(q, k, v)
            x = x + linen.DenseGeneral(WIDTH, axis=(-2, -1), name=f"out_{i}")(mixed)
        return linen.Dense(4, name="head")(x.mean(1))


def general_names() -> Names:
    names = dense("head", "head")
    for i in range(2):
        for part in "qkv":
            names[f"{part}_{i}.kernel"] = heads_out(f"layers.{i}.{part}.weight", HEADS)
            names[f"{part}_{i}.bias"] = reshaped(f"layers.{i}.{part}.bias", HEADS, -1)
        names[f"out_{i}.kernel"] = heads_in(f"layers.{i}.out.weight", HEADS)
        names[f"out_{i}.bias"] = same(f"layers.{i}.out.bias")
    return names


def einsum(params, x):
    """Projections by einsum, with kernels in heads."""
    for p in params["layers"]:
        q, k, v = (jnp.einsum("btd,dnh->btnh", x, p[name]) for name in "qkv")
        scores = jnp.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(SIZE)
        mixed = jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(scores), v)
        x = x + jnp.einsum("btnh,nhd->btd", mixed, p["out"])
    return x.mean(1) @ params["head"]["w"] + params["head"]["b"]


def einsum_jax() -> tuple[Any, ...]:
    layers = [{name: blank(WIDTH, HEADS, SIZE) for name in "qkv"} for _ in range(2)]
    for layer in layers:
        layer["out"] = blank(HEADS, SIZE, WIDTH)
    head = {"w": blank(WIDTH, 4), "b": blank(4)}
    return einsum, {"layers": layers, "head": head}, SEQUENCES


def einsum_names() -> Names:
    names = affine("head", "head")
    for i in range(2):
        for part in "qkv":
            names[f"layers.{i}.{part}"] = heads_out(f"layers.{i}.{part}.weight", HEADS)
        names[f"layers.{i}.out"] = heads_in(f"layers.{i}.out.weight", HEADS)
    return names


TWINS = [
    Twin(
        "llama",
        "equinox",
        lambda: (LlamaTorch(), tensors(IDS)),
        lambda: (built_equinox(lambda: Llama(jax.random.key(0))), IDS),
        llama_names,
    ),
    Twin(
        "dense general",
        "linen",
        lambda: (MixedTorch(bias=True), tensors(SEQUENCES)),
        lambda: (General(), built_linen(General(), SEQUENCES), SEQUENCES),
        general_names,
    ),
    Twin(
        "einsum kernels",
        "function",
        lambda: (MixedTorch(bias=False), tensors(SEQUENCES)),
        einsum_jax,
        einsum_names,
    ),
]
