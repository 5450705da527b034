"""Convolutional networks of Equinox (channels first, one example) and Haiku."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import haiku as hk
import jax
import numpy as np
import torch.nn.functional as F  # noqa: N812
from torch import nn

from jax_twins.twin import (
    Names,
    Source,
    Twin,
    affine,
    alike,
    channels_first,
    normals,
    reshaped,
    same,
    taps_first,
    tensors,
    together,
)
from jax_twins.values import built_equinox, built_haiku

IMAGES = normals(2, 16, 16, 3)
FIRST = channels_first(IMAGES)


class FirstTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1)
        self.norm = nn.GroupNorm(4, 16)
        self.conv2 = nn.Conv2d(16, 32, 3, 1, 1, groups=2)
        self.grow = nn.ConvTranspose2d(32, 16, 4, 2, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.norm(self.conv1(x)))
        x = F.avg_pool2d(F.relu(self.conv2(x)), 2)
        return self.head(F.relu(self.grow(x)).mean((2, 3)))


class First(eqx.Module):
    conv1: eqx.nn.Conv2d
    norm: eqx.nn.GroupNorm
    conv2: eqx.nn.Conv2d
    grow: eqx.nn.ConvTranspose2d
    pool: eqx.nn.AvgPool2d
    head: eqx.nn.Linear

    def __init__(self, key) -> None:
        self.conv1 = eqx.nn.Conv2d(3, 16, 3, 2, 1, key=key)
        self.norm = eqx.nn.GroupNorm(4, 16)
        self.conv2 = eqx.nn.Conv2d(16, 32, 3, 1, 1, groups=2, key=key)
        self.grow = eqx.nn.ConvTranspose2d(32, 16, 4, 2, padding=1, key=key)
        self.pool = eqx.nn.AvgPool2d(2, 2)
        self.head = eqx.nn.Linear(16, 10, key=key)

    def __call__(self, x):
        return jax.vmap(self.one)(x)

    def one(self, x):
        x = jax.nn.relu(self.norm(self.conv1(x)))
        x = self.pool(jax.nn.relu(self.conv2(x)))
        return self.head(jax.nn.relu(self.grow(x)).mean((1, 2)))


def mirrored(name: str) -> Source:
    """Equinox stores a transposed convolution as (out, in, *taps), and does not mirror the taps."""
    return Source((name,), lambda array: np.flip(array, (2, 3)).swapaxes(0, 1))


def first_names() -> Names:
    names = together(alike("norm", "norm"), alike("head", "head"))
    for name, n_out in (("conv1", 16), ("conv2", 32), ("grow", 16)):
        make = mirrored if name == "grow" else same
        names[f"{name}.weight"] = make(f"{name}.weight")
        names[f"{name}.bias"] = reshaped(f"{name}.bias", n_out, 1, 1)
    return names


class DeepTorch(nn.Module):
    """Residual blocks of depthwise and pointwise convolutions (Liu et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.depth = nn.ModuleList([nn.Conv2d(16, 16, 3, 1, 1, groups=16) for _ in range(2)])
        self.norm = nn.ModuleList([nn.LayerNorm(16) for _ in range(2)])
        self.up = nn.ModuleList([nn.Linear(16, 64) for _ in range(2)])
        self.down = nn.ModuleList([nn.Linear(64, 16) for _ in range(2)])
        self.last, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x)
        for i in range(2):
            h = self.norm[i](self.depth[i](x).permute(0, 2, 3, 1))
            h = self.down[i](F.gelu(self.up[i](h), approximate="tanh"))
            x = x + h.permute(0, 3, 1, 2)
        return self.head(self.last(x.mean((2, 3))))


def deep(x):
    def normed(name, x):
        return hk.LayerNorm(-1, create_scale=True, create_offset=True, name=name)(x)

    x = hk.Conv2D(16, 4, 4, padding="VALID", name="stem")(x)
    for i in range(2):
        depth = hk.Conv2D(16, 3, padding="SAME", feature_group_count=16, name=f"depth_{i}")
        h = hk.Linear(64, name=f"up_{i}")(normed(f"norm_{i}", depth(x)))
        x = x + hk.Linear(16, name=f"down_{i}")(jax.nn.gelu(h))
    return hk.Linear(10, name="head")(normed("last", x.mean((1, 2))))


def deep_jax() -> tuple[Any, ...]:
    transformed = hk.transform(deep)
    return transformed, built_haiku(transformed, IMAGES), IMAGES


def deep_names() -> Names:
    names = affine("head", "head")
    norms = {"last": "last", **{f"norm_{i}": f"norm.{i}" for i in range(2)}}
    for ours, theirs in norms.items():
        names[f"{ours}.scale"] = same(f"{theirs}.weight")
        names[f"{ours}.offset"] = same(f"{theirs}.bias")
    for ours, theirs in {"stem": "stem", **{f"depth_{i}": f"depth.{i}" for i in range(2)}}.items():
        names[f"{ours}.w"], names[f"{ours}.b"] = (
            taps_first(f"{theirs}.weight"),
            same(f"{theirs}.bias"),
        )
    return together(
        names, *(affine(f"{n}_{i}", f"{n}.{i}") for n in ("up", "down") for i in (0, 1))
    )


TWINS = [
    Twin(
        "cnn equinox",
        "equinox",
        lambda: (FirstTorch(), tensors(FIRST)),
        lambda: (built_equinox(lambda: First(jax.random.key(0))), FIRST),
        first_names,
    ),
    Twin("convnext", "haiku", lambda: (DeepTorch(), tensors(FIRST)), deep_jax, deep_names),
]
