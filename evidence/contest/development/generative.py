"""Networks that give data back or make it: autoencoders, a flow, diffusion."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from evidence.contest.development.batches import (
    HELD_OUT,
    Rows,
    drawn,
    generated,
    pictures,
    training_rows,
)
from evidence.contest.development.recipes import fill, layers, zero
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss, silu

CODE, NOISES = 8, 100


def autoencoder() -> nn.Module:
    """Return layers of unequal widths with tanh: digits through eight numbers and back."""
    sizes = [64, 128, 96, 64, 32, CODE, 32, 64, 96, 128]
    hidden = [m for pair in pairwise(sizes) for m in (nn.Linear(*pair), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Linear(128, 64))


def sparse(model: nn.Module) -> None:
    """Fill as deep autoencoders trained with momentum: fifteen inputs a unit, moved for tanh."""
    for layer in layers(model):
        few = min(15, layer.weight.shape[1])
        with torch.no_grad():
            chosen = torch.rand(layer.weight.shape).argsort(1) < few
            layer.weight.normal_(0, 0.25).mul_(chosen)
            assert layer.bias is not None
            layer.bias.fill_(0.5)


def rebuilt(rows: Rows) -> Step:
    """Return digits, and the distance of what is given back."""
    x = rows[0]
    return x, lambda output: mse_loss(output, x)


class Variational(nn.Module):
    """A variational autoencoder with Bernoulli pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 256), nn.ReLU())
        self.mean = nn.Linear(256, CODE)
        self.log_variance = nn.Linear(256, CODE)
        self.decoder = nn.Sequential(nn.Linear(CODE, 256), nn.ReLU(), nn.Linear(256, 64))

    def forward(
        self, x: torch.Tensor, noise: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the logits of the pixels, and the mean and log-variance of the code."""
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        if noise is None:
            noise = torch.randn_like(mean)
        code = mean + torch.exp(0.5 * log_variance) * noise
        return self.decoder(code), mean, log_variance


def bound(
    x: torch.Tensor,
) -> Callable[[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], torch.Tensor]:
    """Return the loss of pixels: the negative evidence lower bound, by the picture."""

    def loss(output: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        logits, mean, log_variance = output
        pixels = binary_cross_entropy_with_logits(logits, x, reduction="sum")
        apart = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
        return (pixels + apart) / len(x)

    return loss


def greys(rows: Rows) -> torch.Tensor:
    """Return the pixels of digits from 0 to 1."""
    (x, _), _ = pictures()
    return (rows[0] - x.min()) / (x.max() - x.min())


def encoded(step: int) -> Step:
    """Return pixels; the model draws its own noise."""
    x = greys(training_rows(pictures()[0], step, 100))
    return x, bound(x)


def encoded_held_out() -> Step:
    """Return pixels and the noise of their codes."""
    x = greys(pictures()[1])
    return (x, torch.randn(len(x), CODE, generator=drawn(HELD_OUT))), bound(x)


class Coupling(nn.Module):
    """An affine coupling: one coordinate is kept and says how the other is scaled and moved."""

    mask: torch.Tensor

    def __init__(self, mask: list[float]) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor(mask))
        self.net = nn.Sequential(
            nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the points moved, and the log of the volume's change."""
        kept = x * self.mask
        s, t = self.net(kept).chunk(2, dim=1)
        s = torch.tanh(s) * (1 - self.mask)
        return kept + (1 - self.mask) * (x * torch.exp(s) + t), s.sum(dim=1)


class RealNVP(nn.Module):
    """Six affine couplings in two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        masks = [[1.0, 0.0], [0.0, 1.0]] * 3
        self.couplings = nn.ModuleList(Coupling(mask) for mask in masks)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the points as normal numbers, and the log of the volume's change."""
        change = torch.zeros(len(x))
        for coupling in self.couplings:
            x, log_det = coupling(x)
            change = change + log_det
        return x, change


def zero_last(model: nn.Module) -> None:
    """Set the last layer of each coupling to zero."""
    for module in model.modules():
        if isinstance(module, Coupling):
            last = module.net[-1]
            assert isinstance(last, nn.Linear)
            zero(last)


def moons(seed: int, count: int) -> Step:
    """Return points of two moons, and how unlikely they are."""
    random = drawn(seed)
    angle = torch.rand(count, generator=random) * math.pi
    lower = torch.rand(count, generator=random) < 0.5
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    points = torch.stack([x, y], 1) + 0.1 * torch.randn(count, 2, generator=random)

    def loss(output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        z, change = output
        return (0.5 * z.square().sum(1) + math.log(2 * math.pi) - change).mean()

    return points, loss


class ResBlock(nn.Module):
    """Two convolutions beside a skip, moved by the time."""

    def __init__(self, n_in: int, n_out: int, n_time: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, n_in), nn.Conv2d(n_in, n_out, 3, padding=1)
        self.time = nn.Linear(n_time, n_out)
        self.norm2, self.conv2 = nn.GroupNorm(4, n_out), nn.Conv2d(n_out, n_out, 3, padding=1)
        self.skip = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        h = self.conv1(silu(self.norm1(x)))
        h = h + self.time(silu(time))[:, :, None, None]
        return self.skip(x) + self.conv2(silu(self.norm2(h)))


class Denoiser(nn.Module):
    """A diffusion U-Net of two sizes that tells the noise of a picture."""

    def __init__(self, width: int = 16, n_time: int = 32) -> None:
        super().__init__()
        self.n_time = n_time
        self.time = nn.Sequential(nn.Linear(n_time, n_time), nn.SiLU(), nn.Linear(n_time, n_time))
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.fine = ResBlock(width, width, n_time)
        self.down = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.coarse = ResBlock(width, 2 * width, n_time)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.merge = ResBlock(3 * width, width, n_time)
        self.norm, self.out = nn.GroupNorm(4, width), nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the noise in each picture."""
        half = self.n_time // 2
        speeds = torch.exp(-math.log(10000) * torch.arange(half) / half)
        angles = t[:, None].float() * speeds
        time = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        fine = self.fine(self.first(x), time)
        coarse = self.coarse(self.down(fine), time)
        x = self.merge(torch.cat([self.up(coarse), fine], dim=1), time)
        return self.out(silu(self.norm(x)))


def diffusion(model: nn.Module) -> None:
    """Fill as diffusion U-Nets: uniform by both fans; zero at the end of each block and the whole."""
    fill(model, nn.init.xavier_uniform_)
    assert isinstance(model, Denoiser)
    for module in model.modules():
        if isinstance(module, ResBlock):
            zero(module.conv2)
    zero(model.out)


def noised(rows: Rows, seed: int) -> Step:
    """Return digits under noise and its time, and the distance from the noise."""
    random = drawn(seed)
    x = greys(rows).unflatten(1, (1, 8, 8)) * 2 - 1
    t = torch.randint(NOISES, (len(x),), generator=random)
    left = torch.cumprod(1 - torch.linspace(1e-3, 0.2, NOISES), 0)[t][:, None, None, None]
    noise = torch.randn(x.shape, generator=random)
    return (left.sqrt() * x + (1 - left).sqrt() * noise, t), lambda o: mse_loss(o, noise)


TASKS = {
    "tanh autoencoder": Task(
        autoencoder,
        lambda step: rebuilt(training_rows(pictures()[0], step, 64)),
        lambda: rebuilt(pictures()[1]),
        sparse,
        "Sutskever et al. 2013, section 3.1: 15 inputs a unit N(0, 1), for tanh x 0.25, biases of 0.5",
    ),
    "VAE": Task(
        Variational,
        encoded,
        encoded_held_out,
        lambda model: fill(model, lambda weight: nn.init.normal_(weight, 0, 0.01)),
        "Kingma & Welling 2014, section 5: N(0, 0.01)",
        floor=12.9,  # the pixels' own entropy is 13.6, and 13.1 in the least batch of 200
    ),
    "RealNVP, two moons": Task(
        RealNVP,
        *generated(moons, 256),
        zero_last,
        "Kingma & Dhariwal 2018 (Glow), section 3.3: the last layer of each coupling's network zero",
        floor=0.8,  # the moons' own entropy is 1.01, and 0.90 in the least batch of 100
    ),
    "diffusion U-Net": Task(
        Denoiser,
        lambda step: noised(training_rows(pictures()[0], step, 12), step),
        lambda: noised(pictures()[1], HELD_OUT),
        diffusion,
        "Ho et al. 2020, its code: uniform by both fans, last convolutions of blocks and whole zero",
    ),
}
