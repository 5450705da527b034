"""Transformers beside language models: images, encoders, encoder-decoders, diffusion."""

from __future__ import annotations

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from flax import linen, nnx
from torch import nn

from jax_older import List
from jax_twins.attention import Attention
from jax_twins.twin import (
    Names,
    Twin,
    affine,
    channels_first,
    conv,
    dense,
    heads_in,
    heads_out,
    norm,
    normals,
    reshaped,
    same,
    tensors,
    together,
    tokens,
)
from jax_twins.values import built_haiku, built_linen, built_nnx

WIDTH, HEADS = 32, 4
EPS = 1e-6  # Flax's


def in_heads(jax: str, torch: str) -> Names:
    """Flax's attention, whose kernels are (in, heads, size) and (heads, size, out)."""
    names = {
        f"{jax}.out.kernel": heads_in(f"{torch}.out.weight", HEADS),
        f"{jax}.out.bias": same(f"{torch}.out.bias"),
    }
    for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
        names[f"{jax}.{name}.kernel"] = heads_out(f"{torch}.{part}.weight", HEADS)
        names[f"{jax}.{name}.bias"] = reshaped(f"{torch}.{part}.bias", HEADS, -1)
    return names


IMAGES = normals(2, 16, 16, 3)


class VitTorch(nn.Module):
    """Dosovitskiy et al. 2020, small."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.places = nn.Parameter(torch.zeros(1, 17, WIDTH))
        self.norm1, self.norm2 = (
            nn.ModuleList([nn.LayerNorm(WIDTH, EPS) for _ in range(2)]) for _ in range(2)
        )
        self.attention = nn.ModuleList([Attention(WIDTH, HEADS) for _ in range(2)])
        self.up = nn.ModuleList([nn.Linear(WIDTH, 64) for _ in range(2)])
        self.down = nn.ModuleList([nn.Linear(64, WIDTH) for _ in range(2)])
        self.norm = nn.LayerNorm(WIDTH, EPS)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        for i in range(2):
            x = x + self.attention[i](self.norm1[i](x))
            x = x + self.down[i](F.gelu(self.up[i](self.norm2[i](x)), approximate="tanh"))
        return self.head(self.norm(x)[:, 0])


class Vit(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Conv(WIDTH, (4, 4), (4, 4), name="patches")(x).reshape(x.shape[0], -1, WIDTH)
        token = self.param("token", linen.initializers.zeros, (1, 1, WIDTH))
        places = self.param("places", linen.initializers.zeros, (1, 17, WIDTH))
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], 1) + places
        for i in range(2):
            h = linen.LayerNorm(name=f"norm1_{i}")(x)
            x = x + linen.MultiHeadDotProductAttention(HEADS, name=f"attention_{i}")(h, h)
            h = linen.Dense(64, name=f"up_{i}")(linen.LayerNorm(name=f"norm2_{i}")(x))
            x = x + linen.Dense(WIDTH, name=f"down_{i}")(linen.gelu(h))
        return linen.Dense(10, name="head")(linen.LayerNorm(name="norm")(x)[:, 0])


def vit_names() -> Names:
    layers = ((norm, "norm1"), (norm, "norm2"), (in_heads, "attention"), (dense, "up"))
    blocks = (
        make(f"{name}_{i}", f"{name}.{i}")
        for i in range(2)
        for make, name in (*layers, (dense, "down"))
    )
    tables = {"token": same("token"), "places": same("places")}
    ends = norm("norm", "norm"), dense("head", "head")
    return together(conv("patches", "patches"), tables, *blocks, *ends)


IDS = tokens(2, 10, below=40)


class BertTorch(nn.Module):
    """Norms behind the residual sums (Devlin et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, WIDTH)
        self.places = nn.Embedding(10, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, EPS)
        self.attention = nn.ModuleList([Attention(WIDTH, HEADS) for _ in range(2)])
        self.norm1, self.norm2 = (
            nn.ModuleList([nn.LayerNorm(WIDTH, EPS) for _ in range(2)]) for _ in range(2)
        )
        self.up = nn.ModuleList([nn.Linear(WIDTH, 64) for _ in range(2)])
        self.down = nn.ModuleList([nn.Linear(64, WIDTH) for _ in range(2)])
        self.pool, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, ids):
        x = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])))
        for i in range(2):
            x = self.norm1[i](x + self.attention[i](x))
            x = self.norm2[i](x + self.down[i](F.gelu(self.up[i](x))))
        return self.head(torch.tanh(self.pool(x[:, 0])))


class Bert(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        def layers(make):
            return List([make() for _ in range(2)])

        self.words = nnx.Embed(40, WIDTH, rngs=rngs)
        self.places = nnx.Embed(10, WIDTH, rngs=rngs)
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attention = layers(
            lambda: nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        )
        self.norm1 = layers(lambda: nnx.LayerNorm(WIDTH, rngs=rngs))
        self.norm2 = layers(lambda: nnx.LayerNorm(WIDTH, rngs=rngs))
        self.up = layers(lambda: nnx.Linear(WIDTH, 64, rngs=rngs))
        self.down = layers(lambda: nnx.Linear(64, WIDTH, rngs=rngs))
        self.pool = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, 3, rngs=rngs)

    def __call__(self, ids):
        x = self.norm(self.words(ids) + self.places(jnp.arange(ids.shape[1])))
        for i in range(2):
            x = self.norm1[i](x + self.attention[i](x))
            x = self.norm2[i](x + self.down[i](nnx.gelu(self.up[i](x), approximate=False)))
        return self.head(jnp.tanh(self.pool(x[:, 0])))


def bert_names() -> Names:
    layers = ((norm, "norm1"), (norm, "norm2"), (in_heads, "attention"), (dense, "up"))
    blocks = (
        make(f"{name}.{i}", f"{name}.{i}")
        for i in range(2)
        for make, name in (*layers, (dense, "down"))
    )
    tables = {f"{name}.embedding": same(f"{name}.weight") for name in ("words", "places")}
    ends = dense("pool", "pool"), dense("head", "head")
    return together(tables, norm("norm", "norm"), *blocks, *ends)


class T5Torch(nn.Module):
    """An encoder, and a decoder that attends to it; no biases (Raffel et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, WIDTH)

        def attention(causal: bool = False) -> Attention:
            return Attention(WIDTH, HEADS, causal=causal, bias=False)

        self.encode = nn.ModuleList([attention() for _ in range(2)])
        self.decode = nn.ModuleList([attention(causal=True) for _ in range(2)])
        self.cross = nn.ModuleList([attention() for _ in range(2)])
        self.up = nn.ModuleList([nn.Linear(WIDTH, 64, bias=False) for _ in range(4)])
        self.down = nn.ModuleList([nn.Linear(64, WIDTH, bias=False) for _ in range(4)])
        self.norms = nn.ModuleList([nn.RMSNorm(WIDTH, eps=1e-5) for _ in range(12)])
        self.head = nn.Linear(WIDTH, 40, bias=False)

    def feed(self, i, x):
        return self.down[i](F.relu(self.up[i](x)))

    def forward(self, ids, targets):
        x = self.embed(ids)
        for i in range(2):
            x = x + self.encode[i](self.norms[2 * i](x))
            x = x + self.feed(i, self.norms[2 * i + 1](x))
        memory, y = self.norms[4](x), self.embed(targets)
        for i in range(2):
            y = y + self.decode[i](self.norms[5 + 3 * i](y))
            y = y + self.cross[i](self.norms[6 + 3 * i](y), memory)
            y = y + self.feed(2 + i, self.norms[7 + 3 * i](y))
        return self.head(self.norms[11](y))


def t5_attention(name: str, x: Any, memory: Any, causal: bool = False) -> Any:
    def linear(part: str, x: Any) -> Any:
        return hk.Linear(WIDTH, with_bias=False, name=f"{name}_{part}")(x)

    def split(x: Any) -> Any:
        return x.reshape(*x.shape[:-1], HEADS, -1)

    q, k, v = (split(linear(p, y)) for p, y in (("q", x), ("k", memory), ("v", memory)))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(WIDTH // HEADS)
    if causal:
        scores = jnp.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -1e9)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
    return linear("out", mixed.reshape(x.shape))


def t5(ids, targets):
    def scaled(i, x):
        return hk.RMSNorm(-1, name=f"norms_{i}")(x)

    def feed(i, x):
        x = jax.nn.relu(hk.Linear(64, with_bias=False, name=f"up_{i}")(x))
        return hk.Linear(WIDTH, with_bias=False, name=f"down_{i}")(x)

    embed = hk.Embed(40, WIDTH, name="embed")
    x = embed(ids)
    for i in range(2):
        h = scaled(2 * i, x)
        x = x + t5_attention(f"encode_{i}", h, h)
        x = x + feed(i, scaled(2 * i + 1, x))
    memory, y = scaled(4, x), embed(targets)
    for i in range(2):
        h = scaled(5 + 3 * i, y)
        y = y + t5_attention(f"decode_{i}", h, h, causal=True)
        y = y + t5_attention(f"cross_{i}", scaled(6 + 3 * i, y), memory)
        y = y + feed(2 + i, scaled(7 + 3 * i, y))
    return hk.Linear(40, with_bias=False, name="head")(scaled(11, y))


TARGETS = tokens(2, 8, below=40)


def t5_jax() -> tuple[Any, ...]:
    transformed = hk.transform(t5)
    return transformed, built_haiku(transformed, IDS, TARGETS), IDS, TARGETS


def t5_names() -> Names:
    attention = (
        affine(f"{name}_{i}_{part}", f"{name}.{i}.{part}", bias=False)
        for name in ("encode", "decode", "cross")
        for i in range(2)
        for part in ("q", "k", "v", "out")
    )
    feed = (
        affine(f"{name}_{i}", f"{name}.{i}", bias=False)
        for name in ("up", "down")
        for i in range(4)
    )
    norms = {f"norms_{i}.scale": same(f"norms.{i}.weight") for i in range(12)}
    embed = {"embed.embeddings": same("embed.weight")}
    return together(embed, norms, *attention, *feed, affine("head", "head", bias=False))


PATCHES, CONDITION = normals(2, 9, 8), normals(2, 8)


class DitTorch(nn.Module):
    """Norms without parameters, shifted, scaled and gated by a condition (Peebles & Xie 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.condition = nn.Linear(8, WIDTH), nn.Linear(8, WIDTH)
        self.modulate = nn.ModuleList([nn.Linear(WIDTH, 6 * WIDTH) for _ in range(2)])
        self.attention = nn.ModuleList([Attention(WIDTH, HEADS) for _ in range(2)])
        self.up = nn.ModuleList([nn.Linear(WIDTH, 64) for _ in range(2)])
        self.down = nn.ModuleList([nn.Linear(64, WIDTH) for _ in range(2)])
        self.last, self.head = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, 8)

    def forward(self, x, c):
        def normed(x, shift, scale):
            return F.layer_norm(x, (WIDTH,), eps=EPS) * (1 + scale) + shift

        x, c = self.embed(x), F.silu(self.condition(c))[:, None]
        for i in range(2):
            shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate[i](c).chunk(6, -1)
            x = x + gate1 * self.attention[i](normed(x, shift1, scale1))
            h = F.gelu(self.up[i](normed(x, shift2, scale2)), approximate="tanh")
            x = x + gate2 * self.down[i](h)
        return self.head(normed(x, *self.last(c).chunk(2, -1)))


class Dit(linen.Module):
    @linen.compact
    def __call__(self, x, c):
        def normed(x, shift, scale):
            return linen.LayerNorm(use_bias=False, use_scale=False)(x) * (1 + scale) + shift

        x = linen.Dense(WIDTH, name="embed")(x)
        c = linen.silu(linen.Dense(WIDTH, name="condition")(c))[:, None]
        for i in range(2):
            parts = jnp.split(linen.Dense(6 * WIDTH, name=f"modulate_{i}")(c), 6, -1)
            shift1, scale1, gate1, shift2, scale2, gate2 = parts
            attention = linen.MultiHeadDotProductAttention(HEADS, name=f"attention_{i}")
            x = x + gate1 * attention(normed(x, shift1, scale1))
            h = linen.gelu(linen.Dense(64, name=f"up_{i}")(normed(x, shift2, scale2)))
            x = x + gate2 * linen.Dense(WIDTH, name=f"down_{i}")(h)
        shift, scale = jnp.split(linen.Dense(2 * WIDTH, name="last")(c), 2, -1)
        return linen.Dense(8, name="head")(normed(x, shift, scale))


def dit_names() -> Names:
    blocks = (
        make(f"{name}_{i}", f"{name}.{i}")
        for i in range(2)
        for make, name in (
            (dense, "modulate"),
            (in_heads, "attention"),
            (dense, "up"),
            (dense, "down"),
        )
    )
    return together(*blocks, *(dense(n, n) for n in ("embed", "condition", "last", "head")))


TWINS = [
    Twin(
        "vit",
        "linen",
        lambda: (VitTorch(), tensors(channels_first(IMAGES))),
        lambda: (Vit(), built_linen(Vit(), IMAGES), IMAGES),
        vit_names,
    ),
    Twin(
        "bert",
        "nnx",
        lambda: (BertTorch(), tensors(IDS)),
        lambda: (built_nnx(lambda: Bert(nnx.Rngs(0))), IDS),
        bert_names,
    ),
    Twin("t5", "haiku", lambda: (T5Torch(), tensors(IDS, TARGETS)), t5_jax, t5_names),
    Twin(
        "dit",
        "linen",
        lambda: (DitTorch(), tensors(PATCHES, CONDITION)),
        lambda: (Dit(), built_linen(Dit(), PATCHES, CONDITION), PATCHES, CONDITION),
        dit_names,
    ),
]
