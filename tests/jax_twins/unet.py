"""A U-Net: skips by concatenation, norms in groups."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from flax import nnx
from torch import nn

from jax_older import Dict
from jax_twins.twin import (
    Names,
    Twin,
    channels_first,
    conv,
    norm,
    normals,
    tensors,
    together,
    transposed_conv,
)
from jax_twins.values import built_nnx

IMAGES = normals(2, 16, 16, 3)
ONE = ((1, 1), (1, 1))
STAGES = {"down1": (3, 16), "down2": (16, 24), "middle": (24, 32), "up2": (48, 24), "up1": (32, 16)}


class StageTorch(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(n_in, n_out, 3, 1, 1), nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.norm1, self.norm2 = nn.GroupNorm(4, n_out, 1e-6), nn.GroupNorm(4, n_out, 1e-6)

    def forward(self, x):
        x = F.silu(self.norm1(self.conv1(x)))
        return F.silu(self.norm2(self.conv2(x)))


class UNetTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({name: StageTorch(*sizes) for name, sizes in STAGES.items()})
        self.grow2, self.grow1 = nn.ConvTranspose2d(32, 24, 2, 2), nn.ConvTranspose2d(24, 16, 2, 2)
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        high = self.stages["down1"](x)
        low = self.stages["down2"](F.max_pool2d(high, 2))
        x = self.stages["middle"](F.max_pool2d(low, 2))
        x = self.stages["up2"](torch.cat([self.grow2(x), low], 1))
        x = self.stages["up1"](torch.cat([self.grow1(x), high], 1))
        return self.head(x)


class Stage(nnx.Module):
    def __init__(self, n_in: int, n_out: int, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(n_in, n_out, (3, 3), padding=ONE, rngs=rngs)
        self.conv2 = nnx.Conv(n_out, n_out, (3, 3), padding=ONE, rngs=rngs)
        self.norm1 = nnx.GroupNorm(n_out, 4, rngs=rngs)
        self.norm2 = nnx.GroupNorm(n_out, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.silu(self.norm1(self.conv1(x)))
        return nnx.silu(self.norm2(self.conv2(x)))


class UNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stages = Dict({name: Stage(*sizes, rngs) for name, sizes in STAGES.items()})
        self.grow2 = nnx.ConvTranspose(32, 24, (2, 2), (2, 2), rngs=rngs)
        self.grow1 = nnx.ConvTranspose(24, 16, (2, 2), (2, 2), rngs=rngs)
        self.head = nnx.Conv(16, 2, (1, 1), rngs=rngs)

    def __call__(self, x):
        def halved(x):
            return nnx.max_pool(x, (2, 2), strides=(2, 2))

        high = self.stages["down1"](x)
        low = self.stages["down2"](halved(high))
        x = self.stages["middle"](halved(low))
        x = self.stages["up2"](jnp.concatenate([self.grow2(x), low], -1))
        x = self.stages["up1"](jnp.concatenate([self.grow1(x), high], -1))
        return self.head(x)


def unet_names() -> Names:
    layers = ((conv, "conv1"), (conv, "conv2"), (norm, "norm1"), (norm, "norm2"))
    stages = (
        make(f"stages.{stage}.{name}", f"stages.{stage}.{name}")
        for stage in STAGES
        for make, name in layers
    )
    growing = (transposed_conv(name, name) for name in ("grow2", "grow1"))
    return together(*stages, *growing, conv("head", "head"))


TWINS = [
    Twin(
        "unet",
        "nnx",
        lambda: (UNetTorch(), tensors(channels_first(IMAGES))),
        lambda: (built_nnx(lambda: UNet(nnx.Rngs(0))), IMAGES),
        unet_names,
        lambda array: np.moveaxis(array, -1, 1),
    ),
]
