"""Language models: causal attention, unrolled and scanned over stacked layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from flax import linen, nnx
from torch import nn

from jax_older import List
from jax_twins.attention import Attention, heads_of, merged
from jax_twins.twin import (
    Names,
    Twin,
    dense,
    heads_in,
    heads_out,
    norm,
    reshaped,
    same,
    stacked,
    tensors,
    together,
    tokens,
    turned,
)
from jax_twins.values import blank, built_linen, built_nnx

VOCABULARY, LENGTH, WIDTH, HEADS, DEPTH = 40, 12, 32, 4, 3
IDS = tokens(2, LENGTH, below=VOCABULARY)


def split(x, heads=HEADS):
    """(N, T, heads * size) as (N, T, heads, size)."""
    return x.reshape(*x.shape[:-1], heads, -1)


def causal(q, k, v):
    """Attention of (N, T, heads, size), masked as people write it by hand."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    weights = jax.nn.softmax(jnp.where(mask, scores, -1e30), axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


class FusedBlockTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = (heads_of(part, HEADS) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        x = x + self.out(merged(F.scaled_dot_product_attention(q, k, v, is_causal=True)))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class TiedTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(torch.zeros(LENGTH, WIDTH))
        self.blocks = nn.ModuleList([FusedBlockTorch() for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, ids):
        x = self.embed(ids) + self.places
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embed.weight)


class FusedBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)
        self.qkv = nnx.Linear(WIDTH, 3 * WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        q, k, v = map(split, jnp.split(self.qkv(self.norm1(x)), 3, -1))
        x = x + self.out(causal(q, k, v).reshape(x.shape))
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class Tied(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
        self.places = nnx.Param(jnp.zeros((LENGTH, WIDTH)))
        self.blocks = List([FusedBlock(rngs) for _ in range(DEPTH)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)

    def __call__(self, ids):
        x = self.embed(ids) + self.places
        for block in self.blocks:
            x = block(x)
        return self.embed.attend(self.norm(x))


def tied_names() -> Names:
    blocks = [
        layer(f"blocks.{i}.{part}", f"blocks.{i}.{part}")
        for i in range(DEPTH)
        for layer, parts in ((norm, ("norm1", "norm2")), (dense, ("qkv", "out", "up", "down")))
        for part in parts
    ]
    embed = {"embed.embedding": same("embed.weight"), "places": same("places")}
    return together(embed, *blocks, norm("norm", "norm"))


class BlockTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attention = Attention(WIDTH, HEADS, causal=True)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class DecoderTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList([BlockTorch() for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, ids):
        x = self.embed(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def normed(p, x):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-6) * p["scale"] + p["bias"]


def scanned(params, ids):
    """Layers stacked along the first axis, scanned, and computed anew in the backward pass."""

    def layer(p, x):
        return x @ p["kernel"] + p["bias"]

    def block(x, p):
        h = normed(p["norm1"], x)
        mixed = causal(*(split(layer(p[name], h)) for name in "qkv"))
        x = x + layer(p["out"], mixed.reshape(x.shape))
        return x + layer(p["down"], jax.nn.gelu(layer(p["up"], normed(p["norm2"], x)))), None

    x = params["embed"][ids] + params["places"][jnp.arange(ids.shape[1])]
    x, _ = jax.lax.scan(jax.checkpoint(block), x, params["blocks"])
    return normed(params["norm"], x) @ params["head"]


def scanned_jax() -> tuple[Any, ...]:
    sizes = {"q": (1, 1), "k": (1, 1), "v": (1, 1), "out": (1, 1), "up": (1, 4), "down": (4, 1)}
    blocks: dict[str, Any] = {
        name: {
            "kernel": blank(DEPTH, n_in * WIDTH, n_out * WIDTH),
            "bias": blank(DEPTH, n_out * WIDTH),
        }
        for name, (n_in, n_out) in sizes.items()
    }
    for name in ("norm1", "norm2"):
        blocks[name] = {kind: blank(DEPTH, WIDTH) for kind in ("scale", "bias")}
    params = {
        "embed": blank(VOCABULARY, WIDTH),
        "places": blank(LENGTH, WIDTH),
        "blocks": blocks,
        "norm": {"scale": blank(WIDTH), "bias": blank(WIDTH)},
        "head": blank(WIDTH, VOCABULARY),
    }
    return scanned, params, IDS


def over_layers(make: Any, name: str) -> Any:
    """Return the source of a stacked parameter from those of all blocks."""
    return stacked(make(f"blocks.{i}.{name}") for i in range(DEPTH))


def scanned_names() -> Names:
    linear = {name: f"attention.{name}" for name in ("q", "k", "v", "out")}
    names: Names = {
        "embed": same("embed.weight"),
        "places": same("places.weight"),
        "head": turned("head.weight"),
        **norm("norm", "norm"),
    }
    for name, part in {**linear, "up": "up", "down": "down"}.items():
        names[f"blocks.{name}.kernel"] = over_layers(turned, f"{part}.weight")
        names[f"blocks.{name}.bias"] = over_layers(same, f"{part}.bias")
    for name in ("norm1", "norm2"):
        names[f"blocks.{name}.scale"] = over_layers(same, f"{name}.weight")
        names[f"blocks.{name}.bias"] = over_layers(same, f"{name}.bias")
    return names


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x, _):
        h = linen.LayerNorm(name="norm1")(x)
        mask = linen.make_causal_mask(h[..., 0])
        attention = linen.MultiHeadDotProductAttention(HEADS, name="attention")
        x = x + attention(h, mask=mask)
        h = linen.gelu(linen.Dense(4 * WIDTH, name="up")(linen.LayerNorm(name="norm2")(x)))
        return x + linen.Dense(WIDTH, name="down")(h), None


class LinenScanned(linen.Module):
    @linen.compact
    def __call__(self, ids):
        x = linen.Embed(VOCABULARY, WIDTH, name="embed")(ids)
        x = x + linen.Embed(LENGTH, WIDTH, name="places")(jnp.arange(ids.shape[1]))
        blocks = linen.scan(
            linen.remat(LinenBlock, prevent_cse=False),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=DEPTH,
        )
        x, _ = blocks(name="blocks")(x, None)
        x = linen.LayerNorm(name="norm")(x)
        return linen.Dense(VOCABULARY, use_bias=False, name="head")(x)


def linen_scanned_names() -> Names:
    names: Names = {
        "embed.embedding": same("embed.weight"),
        "places.embedding": same("places.weight"),
        **dense("head", "head", bias=False),
        **norm("norm", "norm"),
    }
    for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
        jax_name = f"blocks.attention.{name}"
        split_out = partial(heads_out, heads=HEADS)
        names[f"{jax_name}.kernel"] = over_layers(split_out, f"attention.{part}.weight")
        names[f"{jax_name}.bias"] = over_layers(_split_bias, f"attention.{part}.bias")
    split_in = partial(heads_in, heads=HEADS)
    names["blocks.attention.out.kernel"] = over_layers(split_in, "attention.out.weight")
    names["blocks.attention.out.bias"] = over_layers(same, "attention.out.bias")
    for name in ("up", "down"):
        names[f"blocks.{name}.kernel"] = over_layers(turned, f"{name}.weight")
        names[f"blocks.{name}.bias"] = over_layers(same, f"{name}.bias")
    for name in ("norm1", "norm2"):
        names[f"blocks.{name}.scale"] = over_layers(same, f"{name}.weight")
        names[f"blocks.{name}.bias"] = over_layers(same, f"{name}.bias")
    return names


def _split_bias(name: str) -> Any:
    return reshaped(name, HEADS, -1)


TWINS = [
    Twin(
        "gpt tied",
        "nnx",
        lambda: (TiedTorch(), tensors(IDS)),
        lambda: (built_nnx(lambda: Tied(nnx.Rngs(0))), IDS),
        tied_names,
    ),
    Twin(
        "gpt scanned",
        "function",
        lambda: (DecoderTorch(), tensors(IDS)),
        scanned_jax,
        scanned_names,
    ),
    Twin(
        "gpt scanned linen",
        "linen",
        lambda: (DecoderTorch(), tensors(IDS)),
        lambda: (LinenScanned(), built_linen(LinenScanned(), IDS), IDS),
        linen_scanned_names,
    ),
]
