"""Networks that make things, and fields."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Siren(nn.Module):
    """Sitzmann et al. 2020."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 32)])
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        for layer in self.layers:
            x = torch.sin(30 * layer(x))
        return self.head(x)


class NeRF(nn.Module):
    """Mildenhall et al. 2020: waves of the place in, density and colour out."""

    def __init__(self, waves=4, width=32):
        super().__init__()
        self.waves = waves
        self.place1 = nn.Linear(3 + 6 * waves, width)
        self.place2 = nn.Linear(width + 3 + 6 * waves, width)
        self.density = nn.Linear(width, 1)
        self.feature = nn.Linear(width, width)
        self.view = nn.Linear(width + 3, width // 2)
        self.colour = nn.Linear(width // 2, 3)

    def forward(self, place, direction):
        steps = 2.0 ** torch.arange(self.waves)
        angles = (place[..., None] * steps).flatten(-2)
        inputs = torch.cat([place, angles.sin(), angles.cos()], -1)
        y = F.relu(self.place1(inputs))
        y = F.relu(self.place2(torch.cat([y, inputs], -1)))
        density = F.relu(self.density(y))
        z = F.relu(self.view(torch.cat([self.feature(y), direction], -1)))
        return density, torch.sigmoid(self.colour(z))


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 32), nn.ELU(), nn.Linear(32, 4))
        self.decoder = nn.Sequential(nn.Linear(4, 32), nn.ELU(), nn.Linear(32, 64), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.mean, self.logvar = nn.Linear(64, 32), nn.Linear(32, 4), nn.Linear(32, 4)
        self.decoder, self.out = nn.Linear(4, 32), nn.Linear(32, 64)

    def forward(self, x):
        h = torch.tanh(self.encoder(x))
        mean, logvar = self.mean(h), self.logvar(h)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return self.out(torch.tanh(self.decoder(z))), mean, logvar


class Generator(nn.Module):
    """Radford et al. 2016."""

    def __init__(self):
        super().__init__()
        self.project = nn.ConvTranspose2d(16, 32, 4)
        self.norm = nn.BatchNorm2d(32)
        self.grow = nn.ConvTranspose2d(32, 16, 4, 2, 1)
        self.out = nn.ConvTranspose2d(16, 3, 4, 2, 1)

    def forward(self, z):
        y = F.relu(self.norm(self.project(z[:, :, None, None])))
        return torch.tanh(self.out(F.relu(self.grow(y))))


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 4, 2, 1)
        self.second = nn.utils.parametrizations.spectral_norm(nn.Conv2d(16, 32, 4, 2, 1))
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        y = F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.2)), 0.2)
        return self.out(y.sum((2, 3)))


class Gan(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = Generator(), Discriminator()

    def forward(self, z):
        return self.discriminator(self.generator(z))


class TimedBlock(nn.Module):
    """The block of a diffusion U-Net: the time joins between two convolutions (Ho et al. 2020)."""

    def __init__(self, n_in, n_out, n_time):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, n_in), nn.Conv2d(n_in, n_out, 3, padding=1)
        self.time = nn.Linear(n_time, n_out)
        self.norm2, self.conv2 = nn.GroupNorm(4, n_out), nn.Conv2d(n_out, n_out, 3, padding=1)
        self.skip = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x, t):
        y = self.conv1(F.silu(self.norm1(x)))
        y = y + self.time(F.silu(t))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(y)))


class ImageAttention(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.norm, self.qkv, self.out = (
            nn.GroupNorm(4, n),
            nn.Conv2d(n, 3 * n, 1),
            nn.Conv2d(n, n, 1),
        )

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, 3, c, h * w).unbind(1)
        scores = torch.einsum("bci,bcj->bij", q, k) / math.sqrt(c)
        y = torch.einsum("bij,bcj->bci", scores.softmax(-1), v)
        return x + self.out(y.reshape(b, c, h, w))


class DiffusionUNet(nn.Module):
    def __init__(self, n=8):
        super().__init__()
        self.n = n
        self.time = nn.Sequential(nn.Linear(n, 32), nn.SiLU(), nn.Linear(32, 32))
        self.first = nn.Conv2d(3, n, 3, padding=1)
        self.down, self.shrink = TimedBlock(n, n, 32), nn.Conv2d(n, n, 3, 2, 1)
        self.middle, self.attention = TimedBlock(n, 2 * n, 32), ImageAttention(2 * n)
        self.up = TimedBlock(3 * n, n, 32)
        self.norm, self.last = nn.GroupNorm(4, n), nn.Conv2d(n, 3, 3, padding=1)

    def forward(self, x, t):
        steps = torch.exp(-math.log(1e4) * torch.arange(self.n // 2) / self.n)
        waves = t[:, None] * steps
        time = self.time(torch.cat([waves.sin(), waves.cos()], -1))
        a = self.down(self.first(x), time)
        b = self.attention(self.middle(self.shrink(a), time))
        b = F.interpolate(b, scale_factor=2)
        return self.last(F.silu(self.norm(self.up(torch.cat([a, b], 1), time))))


class Coupling(nn.Module):
    """Dinh et al. 2017: one half moves and stretches the other."""

    def __init__(self, n):
        super().__init__()
        self.hidden, self.out = nn.Linear(n // 2, 32), nn.Linear(32, n)

    def forward(self, x):
        a, b = x.chunk(2, -1)
        log_scale, shift = self.out(F.relu(self.hidden(a))).chunk(2, -1)
        log_scale = torch.tanh(log_scale)
        return torch.cat([b * log_scale.exp() + shift, a], -1), log_scale.sum(-1)


class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList(Coupling(8) for _ in range(3))

    def forward(self, x):
        total = x.new_zeros(len(x))
        for step in self.steps:
            x, log_det = step(x)
            total = total + log_det
        return x, total
