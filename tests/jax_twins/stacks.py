"""Residual blocks stacked along an axis: the ways of Equinox and of Flax NNX."""

from __future__ import annotations

import equinox as eqx
import jax
import torch.nn.functional as F  # noqa: N812
from flax import nnx
from torch import nn

from jax_twins.twin import Names, Twin, alike, dense, normals, same, stacked, tensors, turned
from jax_twins.values import built_equinox, built_nnx

WIDTH, DEPTH = 16, 4
X = normals(8, 8)


class ResidualTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)

    def forward(self, x):
        return x + self.down(F.relu(self.up(self.norm(x))))


class StackTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, WIDTH)
        self.blocks = nn.ModuleList([ResidualTorch() for _ in range(DEPTH)])
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Residual(eqx.Module):
    norm: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, key) -> None:
        self.norm = eqx.nn.LayerNorm(WIDTH)
        self.up = eqx.nn.Linear(WIDTH, 32, key=key)
        self.down = eqx.nn.Linear(32, WIDTH, key=key)

    def __call__(self, x):
        return x + self.down(jax.nn.relu(self.up(self.norm(x))))


class Stack(eqx.Module):
    embed: eqx.nn.Linear
    blocks: Residual
    head: eqx.nn.Linear

    def __init__(self, key) -> None:
        self.embed = eqx.nn.Linear(8, WIDTH, key=key)
        self.blocks = eqx.filter_vmap(Residual)(jax.random.split(key, DEPTH))
        self.head = eqx.nn.Linear(WIDTH, 4, key=key)

    def __call__(self, x):
        return jax.vmap(self.one)(x)

    def one(self, x):
        arrays, rest = eqx.partition(self.blocks, eqx.is_array)

        def step(x, layer):
            return eqx.combine(layer, rest)(x), None

        x, _ = jax.lax.scan(step, self.embed(x), arrays)
        return self.head(x)


class NnxResidual(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(WIDTH, epsilon=1e-5, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 32, rngs=rngs)
        self.down = nnx.Linear(32, WIDTH, rngs=rngs)

    def __call__(self, x):
        return x + self.down(nnx.relu(self.up(self.norm(x))))


class NnxStack(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        @nnx.split_rngs(splits=DEPTH)
        @nnx.vmap(in_axes=0, out_axes=0)
        def blocks(rngs: nnx.Rngs) -> NnxResidual:
            return NnxResidual(rngs)

        self.embed = nnx.Linear(8, WIDTH, rngs=rngs)
        self.blocks = blocks(rngs)
        self.head = nnx.Linear(WIDTH, 4, rngs=rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        @nnx.remat
        def step(x, block):
            return block(x)

        return self.head(step(self.embed(x), self.blocks))


def over_layers(make, name):
    return stacked(make(f"blocks.{i}.{name}") for i in range(DEPTH))


def equinox_names() -> Names:
    stacks = {
        f"blocks.{layer}.{kind}": over_layers(same, f"{layer}.{kind}")
        for layer in ("norm", "up", "down")
        for kind in ("weight", "bias")
    }
    return {**stacks, **alike("embed", "embed"), **alike("head", "head")}


def nnx_names() -> Names:
    names = {**dense("embed", "embed"), **dense("head", "head")}
    for layer in ("up", "down"):
        names[f"blocks.{layer}.kernel"] = over_layers(turned, f"{layer}.weight")
    for layer in ("norm", "up", "down"):
        names[f"blocks.{layer}.bias"] = over_layers(same, f"{layer}.bias")
    names["blocks.norm.scale"] = over_layers(same, "norm.weight")
    return names


TWINS = [
    Twin(
        "stack equinox",
        "equinox",
        lambda: (StackTorch(), tensors(X)),
        lambda: (built_equinox(lambda: Stack(jax.random.key(0))), X),
        equinox_names,
    ),
    Twin(
        "stack nnx",
        "nnx",
        lambda: (StackTorch(), tensors(X)),
        lambda: (built_nnx(lambda: NnxStack(nnx.Rngs(0))), X),
        nnx_names,
    ),
]
