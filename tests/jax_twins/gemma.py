"""Projections packed into one kernel: Gemma's, and queries, keys and values side by side."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F  # noqa: N812
from flax import linen
from torch import nn

from jax_twins.attention import Attention, heads_of, merged
from jax_twins.twin import (
    Names,
    Source,
    Twin,
    affine,
    heads_in,
    joined,
    normals,
    same,
    tensors,
    together,
    tokens,
    turned,
)
from jax_twins.values import blank, built_linen

WIDTH, HEADS, HIDDEN, DEPTH = 32, 4, 48, 2
SIZE = WIDTH // HEADS
IDS = tokens(2, 12, below=40)


class ScaledTorch(nn.Module):
    """RMSNorm whose scale is stored as its difference from one."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + self.scale)


class GemmaBlockTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = ScaledTorch(), ScaledTorch()
        self.q, self.kv = (nn.Linear(WIDTH, n * WIDTH, bias=False) for n in (1, 2))
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gating = nn.Linear(WIDTH, 2 * HIDDEN, bias=False)
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x):
        h = self.norm1(x)
        q, k, v = (heads_of(part, HEADS) for part in (self.q(h), *self.kv(h).chunk(2, -1)))
        x = x + self.out(merged(F.scaled_dot_product_attention(q, k, v, is_causal=True)))
        gate, up = self.gating(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.gelu(gate, approximate="tanh") * up)


class GemmaTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, WIDTH)
        self.blocks = nn.ModuleList([GemmaBlockTorch() for _ in range(DEPTH)])
        self.norm = ScaledTorch()

    def forward(self, ids):
        x = self.embed(ids) * WIDTH**0.5
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embed.weight)


zeros = linen.initializers.zeros


class Scaled(linen.Module):
    @linen.compact
    def __call__(self, x):
        scale = self.param("scale", zeros, (WIDTH,))
        return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6) * (1 + scale)


class GemmaBlock(linen.Module):
    """Keys and values in one kernel, and the gate and what it gates in another."""

    @linen.compact
    def __call__(self, x):
        h = Scaled(name="norm1")(x)
        q = jnp.einsum("btd,ndh->btnh", h, self.param("q", zeros, (HEADS, WIDTH, SIZE)))
        kernel = self.param("kv", zeros, (2, HEADS, WIDTH, SIZE))
        k, v = jnp.einsum("bsd,cndh->cbsnh", h, kernel)
        scores = jnp.einsum("btnh,bsnh->bnts", q * SIZE**-0.5, k)
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:])), scores, -2.3819763e38)
        mixed = jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(scores), v)
        x = x + jnp.einsum("btnh,nhd->btd", mixed, self.param("out", zeros, (HEADS, SIZE, WIDTH)))
        h = Scaled(name="norm2")(x)
        kernel = self.param("gating", zeros, (2, WIDTH, HIDDEN))
        h = jax.nn.gelu(jnp.dot(h, kernel[0])) * jnp.dot(h, kernel[1])
        return x + jnp.dot(h, self.param("down", zeros, (HIDDEN, WIDTH)))


class Gemma(linen.Module):
    @linen.compact
    def __call__(self, ids):
        table = self.param("embed", zeros, (40, WIDTH))
        x = table[ids] * jnp.sqrt(WIDTH).astype(jnp.float32)
        for i in range(DEPTH):
            x = GemmaBlock(name=f"blocks_{i}")(x)
        return jnp.dot(Scaled(name="norm")(x), table.T)


def packed(name: str, *sizes: int) -> Source:
    """Return the source of a kernel (*sizes, in, size) of a projection (all of the rest, in)."""
    return Source(
        (name,),
        lambda array: array.reshape(*sizes, -1, WIDTH).swapaxes(-1, -2),
        "joined" if sizes[0] == 2 else "",
    )


def gemma_names() -> Names:
    names: Names = {"embed": same("embed.weight"), "norm.scale": same("norm.scale")}
    for i in range(DEPTH):
        ours, theirs = f"blocks_{i}", f"blocks.{i}"
        names[f"{ours}.q"] = packed(f"{theirs}.q.weight", HEADS)
        names[f"{ours}.kv"] = packed(f"{theirs}.kv.weight", 2, HEADS)
        names[f"{ours}.out"] = heads_in(f"{theirs}.out.weight", HEADS)
        names[f"{ours}.gating"] = packed(f"{theirs}.gating.weight", 2)
        names[f"{ours}.down"] = turned(f"{theirs}.down.weight")
        for norm in ("norm1", "norm2"):
            names[f"{ours}.{norm}.scale"] = same(f"{theirs}.{norm}.scale")
    return names


X = normals(2, 10, WIDTH)


class SideBySideTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.attention = Attention(WIDTH, HEADS)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x):
        return self.head(x + self.attention(self.norm(x)))


def side_by_side(params, x):
    """Queries, keys and values by one product; torch's twin has three."""

    def layer(name, x):
        return x @ params[name]["w"] + params[name]["b"]

    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    h = (x - mean) / jnp.sqrt(variance + 1e-6) * params["scale"] + params["shift"]
    q, k, v = (
        part.reshape(*x.shape[:-1], HEADS, SIZE) for part in jnp.split(layer("qkv", h), 3, -1)
    )
    mixed = jax.nn.dot_product_attention(q, k, v)
    return layer("head", x + layer("out", mixed.reshape(x.shape)))


def side_by_side_jax() -> tuple[Any, ...]:
    params: dict[str, Any] = {
        name: {"w": blank(WIDTH, n_out), "b": blank(n_out)}
        for name, n_out in (("qkv", 3 * WIDTH), ("out", WIDTH), ("head", 4))
    }
    params |= {"scale": blank(WIDTH), "shift": blank(WIDTH)}
    return side_by_side, params, X


def side_by_side_names() -> Names:
    return together(
        {
            "qkv.w": joined(1, *(turned(f"attention.{part}.weight") for part in "qkv")),
            "qkv.b": joined(0, *(same(f"attention.{part}.bias") for part in "qkv")),
            "scale": same("norm.weight"),
            "shift": same("norm.bias"),
        },
        affine("out", "attention.out"),
        affine("head", "head"),
    )


TWINS = [
    Twin(
        "gemma",
        "linen",
        lambda: (GemmaTorch(), tensors(IDS)),
        lambda: (Gemma(), built_linen(Gemma(), IDS), IDS),
        gemma_names,
    ),
    Twin(
        "fused projections",
        "function",
        lambda: (SideBySideTorch(), tensors(X)),
        side_by_side_jax,
        side_by_side_names,
    ),
]
