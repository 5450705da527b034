"""Networks of dense layers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F  # noqa: N812
from flax import linen, nnx
from torch import nn

from jax_older import List
from jax_twins.twin import Names, Twin, affine, alike, dense, normals, tensors, together
from jax_twins.values import blank, built_equinox, built_haiku, built_linen, built_nnx

X = normals(8, 16)


class ReluTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 32), nn.Linear(32, 32)])
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(x)


class Relu(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = List([nnx.Linear(16, 32, rngs=rngs), nnx.Linear(32, 32, rngs=rngs)])
        self.head = nnx.Linear(32, 4, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.head(x)


def relu_names() -> Names:
    return together(*(dense(name, name) for name in ("layers.0", "layers.1", "head")))


DEPTH = 10


class GeluTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16 if i == 0 else 32, 32) for i in range(DEPTH)])
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        for layer in self.layers:
            x = F.gelu(layer(x), approximate="tanh")
        return self.head(x)


class Gelu(linen.Module):
    @linen.compact
    def __call__(self, x):
        for _ in range(DEPTH):
            x = linen.gelu(linen.Dense(32)(x))
        return linen.Dense(4)(x)


def gelu_names() -> Names:
    layers = (dense(f"Dense_{i}", f"layers.{i}") for i in range(DEPTH))
    return together(*layers, dense(f"Dense_{DEPTH}", "head"))


def tanh(x):
    return hk.nets.MLP([32, 32, 4], activation=jnp.tanh)(x)


class TanhTorch(ReluTorch):
    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x)


def tanh_jax() -> tuple[Any, ...]:
    transformed = hk.transform(tanh)
    return transformed, built_haiku(transformed, X), X


def tanh_names() -> Names:
    names = ["layers.0", "layers.1", "head"]
    return together(*(affine(f"mlp/~/linear_{i}", name) for i, name in enumerate(names)))


class GluTorch(nn.Module):
    """Swish of one projection times another (Shazeer 2020), with residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 32)
        self.gate = nn.ModuleList([nn.Linear(32, 48) for _ in range(2)])
        self.up = nn.ModuleList([nn.Linear(32, 48) for _ in range(2)])
        self.down = nn.ModuleList([nn.Linear(48, 32) for _ in range(2)])
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = self.embed(x)
        for gate, up, down in zip(self.gate, self.up, self.down, strict=True):
            x = x + down(F.silu(gate(x)) * up(x))
        return self.head(x)


class Glu(eqx.Module):
    embed: eqx.nn.Linear
    gate: list[eqx.nn.Linear]
    up: list[eqx.nn.Linear]
    down: list[eqx.nn.Linear]
    head: eqx.nn.Linear

    def __init__(self, key) -> None:
        self.embed = eqx.nn.Linear(16, 32, key=key)
        self.gate = [eqx.nn.Linear(32, 48, key=key) for _ in range(2)]
        self.up = [eqx.nn.Linear(32, 48, key=key) for _ in range(2)]
        self.down = [eqx.nn.Linear(48, 32, key=key) for _ in range(2)]
        self.head = eqx.nn.Linear(32, 4, key=key)

    def __call__(self, x):
        return jax.vmap(self.one)(x)

    def one(self, x):
        x = self.embed(x)
        for gate, up, down in zip(self.gate, self.up, self.down, strict=True):
            x = x + down(jax.nn.silu(gate(x)) * up(x))
        return self.head(x)


def glu_names() -> Names:
    layers = [f"{part}.{i}" for part in ("gate", "up", "down") for i in range(2)]
    return together(*(alike(name, name) for name in ["embed", *layers, "head"]))


class AutoencoderTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = [16, 32, 4, 32, 16]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(sizes)])

    def forward(self, x):
        x = F.elu(self.layers[0](x))
        code = self.layers[1](x)
        x = F.elu(self.layers[2](code))
        return torch.sigmoid(self.layers[3](x))


def autoencoder(params, x):
    def layer(i, x):
        return x @ params[i]["w"] + params[i]["b"]

    x = jax.nn.elu(layer(0, x))
    code = layer(1, x)
    x = jax.nn.elu(layer(2, code))
    return jax.nn.sigmoid(layer(3, x))


def autoencoder_jax() -> tuple[Any, ...]:
    sizes = [16, 32, 4, 32, 16]
    params = [{"w": blank(a, b), "b": blank(b)} for a, b in pairwise(sizes)]
    return autoencoder, params, X


def autoencoder_names() -> Names:
    return together(*(affine(f"{i}", f"layers.{i}") for i in range(4)))


class SirenTorch(nn.Module):
    """Sitzmann et al. 2020."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 32)])
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        for layer in self.layers:
            x = torch.sin(30 * layer(x))
        return self.head(x)


class Siren(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = List([nnx.Linear(n, 32, rngs=rngs) for n in (2, 32, 32)])
        self.head = nnx.Linear(32, 3, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.sin(30 * layer(x))
        return self.head(x)


def siren_names() -> Names:
    return together(*(dense(n, n) for n in ("layers.0", "layers.1", "layers.2", "head")))


PLACES = normals(8, 2)

TWINS = [
    Twin(
        "mlp relu",
        "nnx",
        lambda: (ReluTorch(), tensors(X)),
        lambda: (built_nnx(lambda: Relu(nnx.Rngs(0))), X),
        relu_names,
    ),
    Twin(
        "mlp gelu deep",
        "linen",
        lambda: (GeluTorch(), tensors(X)),
        lambda: (Gelu(), built_linen(Gelu(), X), X),
        gelu_names,
    ),
    Twin("mlp tanh", "haiku", lambda: (TanhTorch(), tensors(X)), tanh_jax, tanh_names),
    Twin(
        "mlp swiglu",
        "equinox",
        lambda: (GluTorch(), tensors(X)),
        lambda: (built_equinox(lambda: Glu(jax.random.key(0))), X),
        glu_names,
    ),
    Twin(
        "autoencoder",
        "function",
        lambda: (AutoencoderTorch(), tensors(X)),
        autoencoder_jax,
        autoencoder_names,
    ),
    Twin(
        "siren",
        "nnx",
        lambda: (SirenTorch(), tensors(PLACES)),
        lambda: (built_nnx(lambda: Siren(nnx.Rngs(0))), PLACES),
        siren_names,
    ),
]
