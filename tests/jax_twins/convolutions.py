"""Convolutional networks: channels last in JAX, first in torch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from flax import linen, nnx
from torch import nn

from jax_older import List
from jax_twins.twin import (
    Names,
    Twin,
    channels_first,
    conv,
    dense,
    norm,
    normals,
    tensors,
    together,
    transposed_conv,
)
from jax_twins.values import built_linen, built_nnx

IMAGES = normals(2, 16, 16, 3)
ONE = ((1, 1), (1, 1))  # the padding of torch's padding=1


def images() -> tuple[torch.Tensor, ...]:
    return tensors(channels_first(IMAGES))


class CnnTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * 16, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.hidden(x.permute(0, 2, 3, 1).flatten(1)))
        return self.head(x)


class Cnn(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(3, 16, (5, 5), strides=2, padding=((2, 2), (2, 2)), rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), padding=ONE, rngs=rngs)
        self.hidden = nnx.Linear(32 * 16, 32, rngs=rngs)
        self.head = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.conv1(x))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), strides=(2, 2))
        x = nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.head(x)


def cnn_names() -> Names:
    return together(
        conv("conv1", "conv1"),
        conv("conv2", "conv2"),
        dense("hidden", "hidden"),
        dense("head", "head"),
    )


class SeparableTorch(nn.Module):
    """Depthwise convolutions with two filters a channel, then 1 x 1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.depth = nn.ModuleList([nn.Conv2d(16, 32, 3, padding=1, groups=16) for _ in range(2)])
        self.point = nn.ModuleList([nn.Conv2d(32, 16, 1) for _ in range(2)])
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for depth, point in zip(self.depth, self.point, strict=True):
            x = F.relu(point(F.relu(depth(x))))
        return self.head(x.mean((2, 3)))


class Separable(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(16, (3, 3), padding=ONE, name="stem")(x))
        for i in range(2):
            depth = linen.Conv(32, (3, 3), padding=ONE, feature_group_count=16, name=f"depth_{i}")
            x = linen.relu(depth(x))
            x = linen.relu(linen.Conv(16, (1, 1), name=f"point_{i}")(x))
        return linen.Dense(10, name="head")(x.mean((1, 2)))


def separable_names() -> Names:
    parts = (conv(f"{part}_{i}", f"{part}.{i}") for part in ("depth", "point") for i in range(2))
    return together(conv("stem", "stem"), *parts, dense("head", "head"))


NOISE = normals(4, 16)


class GeneratorTorch(nn.Module):
    """DCGAN's generator (Radford et al. 2015), in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(16, 32 * 4 * 4)
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False) for a, b in ((32, 24), (24, 16))]
        )
        self.norm = nn.ModuleList([nn.BatchNorm2d(24), nn.BatchNorm2d(16)])
        self.last = nn.ConvTranspose2d(16, 3, 4, 2, 1)

    def forward(self, z):
        x = F.relu(self.start(z)).view(-1, 4, 4, 32).permute(0, 3, 1, 2)
        for up, scaled in zip(self.up, self.norm, strict=True):
            x = F.relu(scaled(up(x)))
        return torch.tanh(self.last(x))


class Generator(linen.Module):
    @linen.compact
    def __call__(self, z):
        x = linen.relu(linen.Dense(32 * 4 * 4, name="start")(z)).reshape(-1, 4, 4, 32)
        for i, n in enumerate((24, 16)):
            up = linen.ConvTranspose(n, (4, 4), (2, 2), use_bias=False, name=f"up_{i}")
            x = linen.relu(linen.BatchNorm(use_running_average=False, name=f"norm_{i}")(up(x)))
        return jnp.tanh(linen.ConvTranspose(3, (4, 4), (2, 2), name="last")(x))


def generator_jax():
    variables = built_linen(Generator(), NOISE)
    statistics = variables["batch_stats"]

    def apply(params, z):
        variables = {"params": params, "batch_stats": statistics}
        return Generator().apply(variables, z, mutable=["batch_stats"])[0]

    return apply, variables["params"], NOISE


def generator_names() -> Names:
    ups = (transposed_conv(f"up_{i}", f"up.{i}", bias=False) for i in range(2))
    norms = (norm(f"norm_{i}", f"norm.{i}") for i in range(2))
    last = transposed_conv("last", "last")
    return together(dense("start", "start"), *ups, *norms, last)


def last_first(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, -1, 1)


class BlockTorch(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.skip = nn.Conv2d(n_in, n_out, 1, stride, bias=False) if stride > 1 else None
        self.skip_bn = nn.BatchNorm2d(n_out) if stride > 1 else None

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.skip is not None:
            x = self.skip_bn(self.skip(x))
        return F.relu(x + y)


class ResNetTorch(nn.Module):
    """He et al. 2015, small."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        sizes = [(16, 16, 1), (16, 32, 2), (32, 32, 1)]
        self.blocks = nn.ModuleList([BlockTorch(*size) for size in sizes])
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def conv3(n_in, n_out, stride, rngs):
    return nnx.Conv(n_in, n_out, (3, 3), stride, padding=ONE, use_bias=False, rngs=rngs)


class Block(nnx.Module):
    def __init__(self, n_in: int, n_out: int, stride: int, rngs: nnx.Rngs) -> None:
        self.conv1 = conv3(n_in, n_out, stride, rngs)
        self.bn1 = nnx.BatchNorm(n_out, rngs=rngs)
        self.conv2 = conv3(n_out, n_out, 1, rngs)
        self.bn2 = nnx.BatchNorm(n_out, rngs=rngs)
        self.projects = stride > 1
        if self.projects:
            self.skip = nnx.Conv(n_in, n_out, (1, 1), stride, use_bias=False, rngs=rngs)
            self.skip_bn = nnx.BatchNorm(n_out, rngs=rngs)

    def __call__(self, x):
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.projects:
            x = self.skip_bn(self.skip(x))
        return nnx.relu(x + y)


class ResNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem, self.bn = conv3(3, 16, 1, rngs), nnx.BatchNorm(16, rngs=rngs)
        sizes = [(16, 16, 1), (16, 32, 2), (32, 32, 1)]
        self.blocks = List([Block(*size, rngs=rngs) for size in sizes])
        self.head = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


def resnet_jax(training: bool):
    model = built_nnx(lambda: ResNet(nnx.Rngs(0)))
    model.train() if training else model.eval()
    return model, IMAGES


def resnet_names() -> Names:
    blocks = [
        part
        for i, more in enumerate(((), ("skip",), ()))
        for part in (
            *(conv(f"blocks.{i}.{n}", f"blocks.{i}.{n}", False) for n in ("conv1", "conv2", *more)),
            *(
                norm(f"blocks.{i}.{n}", f"blocks.{i}.{n}")
                for n in ("bn1", "bn2", *(f"{skip}_bn" for skip in more))
            ),
        )
    ]
    stem = conv("stem", "stem", bias=False)
    return together(stem, norm("bn", "bn"), *blocks, dense("head", "head"))


SOUND = normals(2, 32, 4)


class WavesTorch(nn.Module):
    """Gated causal convolutions with dilation and skips (van den Oord et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv1d(4, 16, 1)
        self.filters, self.gates, self.skips, self.ends = (
            nn.ModuleList(
                [nn.Conv1d(16, 16, taps, dilation=2**i if taps > 1 else 1) for i in range(3)]
            )
            for taps in (2, 2, 1, 1)
        )
        self.out1, self.out2 = nn.Conv1d(16, 16, 1), nn.Conv1d(16, 8, 1)

    def forward(self, x):
        x, total = self.embed(x), 0
        for i in range(3):
            padded = F.pad(x, (2**i, 0))
            y = torch.tanh(self.filters[i](padded)) * torch.sigmoid(self.gates[i](padded))
            total = total + self.skips[i](y)
            x = x + self.ends[i](y)
        return self.out2(F.relu(self.out1(F.relu(total))))


class Waves(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        def causal(i):
            return nnx.Conv(16, 16, (2,), kernel_dilation=2**i, padding="CAUSAL", rngs=rngs)

        def point(n_in, n_out):
            return nnx.Conv(n_in, n_out, (1,), rngs=rngs)

        self.embed = point(4, 16)
        self.filters = List([causal(i) for i in range(3)])
        self.gates = List([causal(i) for i in range(3)])
        self.skips = List([point(16, 16) for _ in range(3)])
        self.ends = List([point(16, 16) for _ in range(3)])
        self.out1, self.out2 = point(16, 16), point(16, 8)

    def __call__(self, x):
        x, total = self.embed(x), 0
        for i in range(3):
            y = jnp.tanh(self.filters[i](x)) * jax.nn.sigmoid(self.gates[i](x))
            total = total + self.skips[i](y)
            x = x + self.ends[i](y)
        return self.out2(nnx.relu(self.out1(nnx.relu(total))))


def waves_names() -> Names:
    layers = [f"{part}.{i}" for part in ("filters", "gates", "skips", "ends") for i in range(3)]
    return together(*(conv(name, name) for name in ["embed", *layers, "out1", "out2"]))


TWINS = [
    Twin(
        "cnn",
        "nnx",
        lambda: (CnnTorch(), images()),
        lambda: (built_nnx(lambda: Cnn(nnx.Rngs(0))), IMAGES),
        cnn_names,
    ),
    Twin(
        "depthwise cnn",
        "linen",
        lambda: (SeparableTorch(), images()),
        lambda: (Separable(), built_linen(Separable(), IMAGES), IMAGES),
        separable_names,
    ),
    Twin(
        "dcgan generator",
        "function",
        lambda: (GeneratorTorch(), tensors(NOISE)),
        generator_jax,
        generator_names,
        last_first,
    ),
    Twin(
        "resnet in training",
        "nnx",
        lambda: (ResNetTorch(), images()),
        lambda: resnet_jax(training=True),
        resnet_names,
    ),
    Twin(
        "resnet in evaluation",
        "nnx",
        lambda: (ResNetTorch().eval(), images()),
        lambda: resnet_jax(training=False),
        resnet_names,
    ),
    Twin(
        "wavenet",
        "nnx",
        lambda: (WavesTorch(), tensors(channels_first(SOUND))),
        lambda: (built_nnx(lambda: Waves(nnx.Rngs(0))), SOUND),
        waves_names,
        last_first,
    ),
]
