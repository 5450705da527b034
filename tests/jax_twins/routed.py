"""Mixtures of experts, MLP-Mixer, and a recommender."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from flax import nnx
from torch import nn

from jax_twins.twin import (
    Names,
    Twin,
    alike,
    dense,
    norm,
    normals,
    same,
    tensors,
    together,
    tokens,
)
from jax_twins.values import built_equinox, built_nnx

WIDTH, EXPERTS, HIDDEN = 16, 4, 32
X = normals(8, WIDTH)


class ExpertsTorch(nn.Module):
    """Each example goes to two of four experts (Shazeer et al. 2017), all in one kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, 1e-6)
        self.router = nn.Linear(WIDTH, EXPERTS, bias=False)
        self.up = nn.Parameter(torch.zeros(EXPERTS, WIDTH, HIDDEN))
        self.down = nn.Parameter(torch.zeros(EXPERTS, HIDDEN, WIDTH))
        for kernel in (self.up, self.down):
            nn.init.normal_(kernel, std=0.02)
        self.last, self.head = nn.LayerNorm(WIDTH, 1e-6), nn.Linear(WIDTH, 4)

    def forward(self, x):
        x = self.embed(x)
        h = self.norm(x)
        best, chosen = torch.topk(self.router(h), 2)
        shares = torch.zeros(x.shape[0], EXPERTS).scatter(1, chosen, best.softmax(-1))
        y = F.relu(torch.einsum("bd,edh->beh", h, self.up))
        y = torch.einsum("beh,ehd->bed", y, self.down)
        return self.head(self.last(x + torch.einsum("be,bed->bd", shares, y)))


class Experts(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.router = nnx.Linear(WIDTH, EXPERTS, use_bias=False, rngs=rngs)
        self.up = nnx.Param(jnp.zeros((EXPERTS, WIDTH, HIDDEN)))
        self.down = nnx.Param(jnp.zeros((EXPERTS, HIDDEN, WIDTH)))
        self.last = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, 4, rngs=rngs)

    def __call__(self, x):
        x = self.embed(x)
        h = self.norm(x)
        best, chosen = jax.lax.top_k(self.router(h), 2)
        weights = jax.nn.softmax(best)[..., None]
        shares = (weights * jax.nn.one_hot(chosen, EXPERTS)).sum(1)
        y = nnx.relu(jnp.einsum("bd,edh->beh", h, self.up[...]))
        y = jnp.einsum("beh,ehd->bed", y, self.down[...])
        return self.head(self.last(x + jnp.einsum("be,bed->bd", shares, y)))


def experts_names() -> Names:
    kernels = {"up": same("up"), "down": same("down")}
    router = dense("router", "router", bias=False)
    norms = norm("norm", "norm"), norm("last", "last")
    return together(kernels, router, *norms, dense("embed", "embed"), dense("head", "head"))


PATCHES = normals(2, 9, 8)


class MixerTorch(nn.Module):
    """MLPs over places, then over channels (Tolstikhin et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, WIDTH)
        self.norm1, self.norm2 = (
            nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2)]) for _ in range(2)
        )
        self.place1 = nn.ModuleList([nn.Linear(9, 18) for _ in range(2)])
        self.place2 = nn.ModuleList([nn.Linear(18, 9) for _ in range(2)])
        self.channel1 = nn.ModuleList([nn.Linear(WIDTH, 32) for _ in range(2)])
        self.channel2 = nn.ModuleList([nn.Linear(32, WIDTH) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x):
        x = self.embed(x)
        for i in range(2):
            h = self.norm1[i](x).transpose(1, 2)
            h = self.place2[i](F.gelu(self.place1[i](h), approximate="tanh"))
            x = x + h.transpose(1, 2)
            h = F.gelu(self.channel1[i](self.norm2[i](x)), approximate="tanh")
            x = x + self.channel2[i](h)
        return self.head(self.norm(x).mean(1))


class Mixer(eqx.Module):
    embed: eqx.nn.Linear
    norm1: list[eqx.nn.LayerNorm]
    norm2: list[eqx.nn.LayerNorm]
    place1: list[eqx.nn.Linear]
    place2: list[eqx.nn.Linear]
    channel1: list[eqx.nn.Linear]
    channel2: list[eqx.nn.Linear]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, key) -> None:
        def linear(n_in, n_out):
            return [eqx.nn.Linear(n_in, n_out, key=key) for _ in range(2)]

        self.embed = eqx.nn.Linear(8, WIDTH, key=key)
        self.norm1, self.norm2 = ([eqx.nn.LayerNorm(WIDTH) for _ in range(2)] for _ in range(2))
        self.place1, self.place2 = linear(9, 18), linear(18, 9)
        self.channel1, self.channel2 = linear(WIDTH, 32), linear(32, WIDTH)
        self.norm, self.head = eqx.nn.LayerNorm(WIDTH), eqx.nn.Linear(WIDTH, 4, key=key)

    def __call__(self, x):
        return jax.vmap(self.one)(x)

    def one(self, x):
        each, gelu = jax.vmap, jax.nn.gelu
        x = each(self.embed)(x)
        for i in range(2):
            h = each(self.norm1[i])(x).T
            x = x + each(self.place2[i])(gelu(each(self.place1[i])(h))).T
            h = each(self.norm2[i])(x)
            x = x + each(self.channel2[i])(gelu(each(self.channel1[i])(h)))
        return self.head(each(self.norm)(x).mean(0))


def mixer_names() -> Names:
    layers = ("norm1", "norm2", "place1", "place2", "channel1", "channel2")
    blocks = [f"{name}.{i}" for name in layers for i in range(2)]
    return together(*(alike(name, name) for name in ["embed", *blocks, "norm", "head"]))


CLICKS, FACTS = tokens(8, 3, 4, below=20), normals(8, 6)


class RecommenderTorch(nn.Module):
    """Bags of embeddings, and products of each two of them (Naumov et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.ModuleList([nn.EmbeddingBag(20, WIDTH, mode="mean") for _ in range(3)])
        self.bottom1, self.bottom2 = nn.Linear(6, 32), nn.Linear(32, WIDTH)
        self.top1, self.top2 = nn.Linear(WIDTH + 6, 32), nn.Linear(32, 1)

    def forward(self, clicks, facts):
        x = F.relu(self.bottom2(F.relu(self.bottom1(facts))))
        rows = torch.stack([x, *(bag(clicks[:, i]) for i, bag in enumerate(self.bags))], 1)
        i, j = np.triu_indices(4, 1)
        products = torch.bmm(rows, rows.transpose(1, 2))[:, i, j]
        return self.top2(F.relu(self.top1(torch.cat([x, products], 1))))


class Recommender(eqx.Module):
    """Under torch's names, so that what is measured under the plan's own values is the same."""

    bags: list[eqx.nn.Embedding]
    bottom1: eqx.nn.Linear
    bottom2: eqx.nn.Linear
    top1: eqx.nn.Linear
    top2: eqx.nn.Linear

    def __init__(self, key) -> None:
        def linear(n_in, n_out):
            return eqx.nn.Linear(n_in, n_out, key=key)

        self.bags = [eqx.nn.Embedding(20, WIDTH, key=key) for _ in range(3)]
        self.bottom1, self.bottom2 = linear(6, 32), linear(32, WIDTH)
        self.top1, self.top2 = linear(WIDTH + 6, 32), linear(32, 1)

    def __call__(self, clicks, facts):
        return jax.vmap(self.one)(clicks, facts)

    def one(self, clicks, facts):
        relu = jax.nn.relu
        x = relu(self.bottom2(relu(self.bottom1(facts))))
        means = [jax.vmap(bag)(ids).mean(0) for bag, ids in zip(self.bags, clicks, strict=True)]
        rows = jnp.stack([x, *means])
        i, j = np.triu_indices(4, 1)
        return self.top2(relu(self.top1(jnp.concatenate([x, (rows @ rows.T)[i, j]]))))


def recommender_names() -> Names:
    layers = ("bottom1", "bottom2", "top1", "top2")
    bags = (alike(f"bags.{i}", f"bags.{i}", bias=False) for i in range(3))
    return together(*bags, *(alike(name, name) for name in layers))


TWINS = [
    Twin(
        "mixture of experts",
        "nnx",
        lambda: (ExpertsTorch(), tensors(X)),
        lambda: (built_nnx(lambda: Experts(nnx.Rngs(0))), X),
        experts_names,
    ),
    Twin(
        "mixer",
        "equinox",
        lambda: (MixerTorch(), tensors(PATCHES)),
        lambda: (built_equinox(lambda: Mixer(jax.random.key(0))), PATCHES),
        mixer_names,
    ),
    Twin(
        "recommender",
        "equinox",
        lambda: (RecommenderTorch(), tensors(CLICKS, FACTS)),
        lambda: (built_equinox(lambda: Recommender(jax.random.key(0))), CLICKS, FACTS),
        recommender_names,
    ),
]
