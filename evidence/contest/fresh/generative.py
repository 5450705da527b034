"""Generative models: a flow, a codebook, a diffusion transformer."""

from __future__ import annotations

import math
from functools import cache

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.fresh.images import grid, shapes
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    gelu,
    layer_norm,
    linear,
    mse_loss,
    scaled_dot_product_attention,
    silu,
)

# A flow

NOISES = (1.0, 0.4, 0.3, 0.4, 0.3, 0.5)
ENTROPY = sum(math.log(s) + 0.5 * math.log(2 * math.pi * math.e) for s in NOISES)


def chained(step: int, count: int = 128) -> Step:
    """Return rows of six columns, each bent from those before, and minus their log-likelihood."""
    z = torch.randn(count, 6, generator=seeded(step)) * torch.tensor(NOISES)
    a = z[:, 0]
    b = 0.5 * a**2 - 0.5 + z[:, 1]
    c = torch.sin(2 * a) + z[:, 2]
    d = a.abs() - 0.8 + 0.3 * b + z[:, 3]
    e = torch.tanh(2 * c) + z[:, 4]
    f = 0.6 * b * c + z[:, 5]
    return torch.stack([f, e, a, b, c, d], dim=1), lambda output: -output.mean()


class MaskedLinear(nn.Linear):
    """A linear layer where each output sees a part of the inputs."""

    mask: torch.Tensor

    def __init__(self, n_in: int, n_out: int, mask: torch.Tensor) -> None:
        super().__init__(n_in, n_out)
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output."""
        return linear(x, self.mask * self.weight, self.bias)


class MADE(nn.Module):
    """A shift and a scale for each column, from those before it."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        first, middle = torch.arange(size), torch.arange(hidden) % (size - 1)
        into, within = middle[:, None] >= first, middle[:, None] >= middle
        out = (first[:, None] > middle).repeat(2, 1)
        self.net = nn.Sequential(
            MaskedLinear(size, hidden, into),
            nn.ReLU(),
            MaskedLinear(hidden, hidden, within),
            nn.ReLU(),
            MaskedLinear(hidden, 2 * size, out),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the columns without what was foreseen, and the logarithm of the change of volume."""
        shift, log_scale = self.net(x).chunk(2, dim=1)
        return (x - shift) * torch.exp(-log_scale), -log_scale.sum(1)


class MAF(nn.Module):
    """Masked autoregressive layers, the columns reversed between them."""

    def __init__(self, size: int = 6, hidden: int = 64, layers: int = 5) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MADE(size, hidden) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-likelihood of each row."""
        total = torch.zeros(len(x))
        for layer in self.layers:
            x, change = layer(x)
            x, total = x.flip(1), total + change
        return total - 0.5 * (x**2).sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


# A codebook


@cache
def faces(seed: int, count: int) -> torch.Tensor:
    """Return drawn faces of many moods, standardized, of shape (count, 1, 16, 16)."""
    g = seeded(seed)
    y, x = grid(16)
    cy, cx, tilt, smile, gap = uniform(g, 5, count, 1, 1, low=-1)
    u, v = x - 0.15 * cx, y - 0.15 * cy
    u, v = u + 0.2 * tilt * v, v - 0.2 * tilt * u
    far = (u / 0.75) ** 2 + (v / 0.9) ** 2
    image = torch.sigmoid(12 * (1 - far)) * (0.7 + 0.3 * uniform(g, count, 1, 1))
    apart = 0.32 + 0.08 * gap
    for side in (-1, 1):
        eye = torch.exp(-((u - side * apart) ** 2 + (v + 0.25) ** 2) / 0.015)
        image = image - 0.7 * eye
    mouth = torch.exp(-((v - 0.4 - 0.8 * smile * (0.12 - u**2)) ** 2) / 0.008)
    image = image - 0.6 * mouth * (u.abs() < 0.4)
    image = image + 0.02 * torch.randn(count, 16, 16, generator=g)
    return ((image - 0.4) / 0.37)[:, None]


class Residual(nn.Module):
    """A residual layer of the codebook's encoder and decoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width // 2, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input with the block's output."""
        return x + self.block(x)


class VQVAE(nn.Module):
    """An autoencoder whose code is the nearest of 32 vectors at each place."""

    def __init__(self, width: int = 24, size: int = 12, codes: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            Residual(width),
            nn.ReLU(),
            nn.Conv2d(width, size, 1),
        )
        self.embedding = nn.Embedding(codes, size)
        self.embedding.weight.data.uniform_(-1 / codes, 1 / codes)
        self.decoder = nn.Sequential(
            nn.Conv2d(size, width, 3, padding=1),
            Residual(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width // 2, 1, 4, stride=2, padding=1),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pictures given back, and the loss of the codebook."""
        z = self.encoder(x).permute(0, 2, 3, 1)
        flat = z.reshape(-1, z.shape[3])
        nearest = torch.cdist(flat.detach(), self.embedding.weight.detach()).argmin(1)
        q = self.embedding(nearest).view_as(z)
        loss = mse_loss(q, z.detach()) + 0.25 * mse_loss(q.detach(), z)
        q = z + (q - z).detach()
        return self.decoder(q.permute(0, 3, 1, 2)), loss


def drawn(step: int, seed: int = 72, count: int = 1000, batch: int = 16) -> Step:
    """Return faces, to be given back."""
    x = faces(seed, count)[rows(step, count, batch)]
    return x, lambda output: mse_loss(output[0], x) + output[1]


# A diffusion transformer


def sines(t: torch.Tensor, size: int) -> torch.Tensor:
    """Return waves of a time between 0 and 1, of shape (batch, size)."""
    rates = torch.exp(-math.log(10000) * torch.arange(size // 2) / (size // 2))
    angles = 1000 * t[:, None] * rates
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)


class DiTBlock(nn.Module):
    """Attention and a network, both shifted, scaled and gated by the condition."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.qkv, self.proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.fc1, self.fc2 = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.ada = nn.Linear(size, 6 * size)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Return the tokens after one block."""
        s1, g1, a1, s2, g2, a2 = self.ada(silu(c))[:, None].chunk(6, dim=2)
        h = layer_norm(x, (self.size,), eps=1e-6) * (1 + g1) + s1
        q, k, v = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + a1 * self.proj(h)
        h = layer_norm(x, (self.size,), eps=1e-6) * (1 + g2) + s2
        return x + a2 * self.fc2(gelu(self.fc1(h), approximate="tanh"))


class DiT(nn.Module):
    """A transformer over patches that is told time and class."""

    def __init__(self, size: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.size = size
        self.x_embedder = nn.Conv2d(3, size, 2, stride=2)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 25, size))
        self.t_embedder = nn.Sequential(nn.Linear(32, size), nn.SiLU(), nn.Linear(size, size))
        self.y_embedder = nn.Embedding(6, size)
        self.blocks = nn.ModuleList(DiTBlock(size, 4) for _ in range(depth))
        self.final_ada = nn.Linear(size, 2 * size)
        self.final = nn.Linear(size, 12)

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the speed from noise to picture, of the picture's shape (batch, 3, 10, 10)."""
        x = self.x_embedder(x).flatten(2).transpose(1, 2) + self.pos_embed
        c = self.t_embedder(sines(t, 32)) + self.y_embedder(y)
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.final_ada(silu(c))[:, None].chunk(2, dim=2)
        x = self.final(layer_norm(x, (self.size,), eps=1e-6) * (1 + scale) + shift)
        x = x.view(-1, 5, 5, 2, 2, 3).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(-1, 3, 10, 10)


def peebles(model: nn.Module) -> None:
    """Fill by Xavier; embeddings of time and class N(0, 0.02); zero modulation and zero last layer."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        if "ada" in name or name == "final":
            nn.init.zeros_(module.get_parameter("weight"))
        elif name == "y_embedder" or name in ("t_embedder.0", "t_embedder.2"):
            nn.init.normal_(module.get_parameter("weight"), std=0.02)
        elif name == "x_embedder":
            nn.init.xavier_uniform_(module.get_parameter("weight").view(model.size, -1))
            nn.init.zeros_(module.get_parameter("bias"))


def flowing(step: int, seed: int = 73, count: int = 1024, batch: int = 6) -> Step:
    """Return pictures between noise and shape, time and class, and the distance to their speed."""
    x, y = shapes(seed, count)
    at = rows(step, count, batch)
    g = seeded(step + 2 * HELD)
    picture, noise = adaptive_avg_pool2d(x[at], 10), torch.randn(batch, 3, 10, 10, generator=g)
    t = torch.sigmoid(torch.randn(batch, generator=g))
    mixed = (1 - t[:, None, None, None]) * noise + t[:, None, None, None] * picture
    inputs = {"x": mixed, "t": t, "y": y[at]}
    return inputs, lambda output: mse_loss(output, picture - noise)


GENERATIVE = {
    "masked autoregressive flow, six columns": Task(
        MAF,
        chained,
        lambda: chained(HELD, 1024),
        None,
        "Papamakarios et al. 2017; kamenbliznashki/normalizing_flows: torch's defaults",
        floor=ENTROPY - 0.5,
    ),
    "VQ-VAE, faces": Task(
        VQVAE,
        drawn,
        lambda: drawn(0, HELD + 72, 256, 256),
        None,
        "van den Oord et al. 2017; zalandoresearch/pytorch-vq-vae: codes U(±1 / K), torch's defaults",
    ),
    "diffusion transformer, coloured shapes": Task(
        DiT,
        flowing,
        lambda: flowing(HELD, HELD + 73, 256, 256),
        peebles,
        "Peebles and Xie 2023, facebookresearch/DiT: Xavier, N(0, 0.02), zero modulation and output",
    ),
}
