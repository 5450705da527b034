"""Two views of leaves, a flow of digits, events told by spikes, and fifty layers."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.fresh.images import grid
from evidence.contest.second.images import scans
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, pixel_unshuffle, relu

# Two views

CROP = 12


@cache
def leaves(seed: int, count: int) -> torch.Tensor:
    """Return pictures (count, 3, 16, 16) of a leaf: its lobes, its veins and its colours."""
    g = seeded(seed)
    y, x = grid(16)
    angle = torch.atan2(y, x) + uniform(g, count, 1, 1, high=6.3)
    radius = (y**2 + x**2).sqrt()
    lobes = torch.randint(2, 8, (count, 1, 1), generator=g)
    edge = 0.6 + uniform(g, count, 1, 1, low=0.1, high=0.3) * torch.cos(lobes * angle)
    veins = torch.cos(uniform(g, count, 1, 1, low=5, high=20) * radius)
    inside = torch.sigmoid(12 * (edge - radius))[:, None]
    colour, ground = uniform(g, 2, count, 3, 1, 1, low=-1, high=1)
    return ground + inside * (colour - ground + 0.5 * veins[:, None])


class BasicBlock(nn.Module):
    """Two convolutions with batch norm around a residual."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)
        self.downsample = nn.Sequential(
            nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return maps of `n_out` channels."""
        h = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(h + self.downsample(x))


class BarlowTwins(nn.Module):
    """A residual network and a projector; how what they tell of two views is correlated."""

    def __init__(self, width: int = 10, dim: int = 64) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            BasicBlock(3, width, 2),
            BasicBlock(width, 2 * width, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        sizes = [2 * width, dim, dim]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU(inplace=True)]
        self.projector = nn.Sequential(*layers, nn.Linear(dim, dim, bias=False))
        self.bn = nn.BatchNorm1d(dim, affine=False)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the correlations (dim, dim) of two views, over the batch."""
        z1, z2 = (self.projector(self.backbone(view)) for view in (first, second))
        return self.bn(z1).T @ self.bn(z2) / len(first)


def zero_residuals(model: nn.Module) -> None:
    """Fill convolutions as He's normal by the outputs, and the last scale of each block with 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)


def viewed(step: int, seed: int = 271, count: int = 1024, batch: int = 32) -> Step:
    """Return two views of each leaf (cut, brightened, noisy), and the loss of their correlations."""
    g = seeded(step + 1)
    picture = leaves(seed, count)[rows(step, count, batch)]
    views = []
    for _ in range(2):
        top, left = torch.randint(16 - CROP + 1, (2,), generator=g).tolist()
        view = picture[:, :, top : top + CROP, left : left + CROP]
        view = view * uniform(g, batch, 1, 1, 1, low=0.7, high=1.3)
        flip = torch.rand(batch, 1, 1, 1, generator=g) < 0.5
        view = torch.where(flip, view.flip(3), view)
        views.append(view + 0.1 * torch.randn(view.shape, generator=g))

    def loss(correlated: torch.Tensor) -> torch.Tensor:
        on = torch.diagonal(correlated)
        return (on - 1).square().sum() + 0.005 * (correlated.square().sum() - on.square().sum())

    return {"first": views[0], "second": views[1]}, loss


# A flow of digits


class ActNorm(nn.Module):
    """A shift and a scale for each channel, set by the first batch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.initialized: torch.Tensor
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the moved maps, and the logarithm of how much their volume grew."""
        if self.training and self.initialized.item() == 0:
            with torch.no_grad():
                self.loc.copy_(-x.mean((0, 2, 3), keepdim=True))
                self.scale.copy_(1 / (x.std((0, 2, 3), keepdim=True) + 1e-6))
                self.initialized.fill_(1)
        grown = x.shape[2] * x.shape[3] * torch.log(self.scale.abs()).sum()
        return self.scale * (x + self.loc), grown


class GlowStep(nn.Module):
    """Act norm, channels mixed by an invertible matrix, and an affine coupling."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        half = channels // 2
        self.actnorm = ActNorm(channels)
        self.mix = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels)).Q)
        self.conv1 = nn.Conv2d(half, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, hidden, 1)
        self.conv3 = nn.Conv2d(hidden, channels, 3, padding=1)
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return maps of the same shape, and the logarithm of how much their volume grew."""
        x, grown = self.actnorm(x)
        x = torch.einsum("oc,bchw->bohw", self.mix, x)
        grown = grown + x.shape[2] * x.shape[3] * torch.linalg.slogdet(self.mix)[1]
        kept, moved = x.chunk(2, dim=1)
        h = relu(self.conv2(relu(self.conv1(kept))))
        log_s, shift = (self.conv3(h) * torch.exp(3 * self.log_scale)).chunk(2, dim=1)
        s = torch.sigmoid(log_s + 2)
        return torch.cat([kept, (moved + shift) * s], dim=1), grown + s.log().sum((1, 2, 3))


class Glow(nn.Module):
    """Digits squeezed to four channels, and steps of a flow to normal numbers."""

    def __init__(self, steps: int = 3, hidden: int = 32) -> None:
        super().__init__()
        self.steps = nn.ModuleList(GlowStep(4, hidden) for _ in range(steps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-likelihood of each picture."""
        x = pixel_unshuffle(x, 2)
        grown = torch.zeros(len(x))
        for step in self.steps:
            x, more = step(x)
            grown = grown + more
        return grown - 0.5 * (x**2 + math.log(2 * math.pi)).sum((1, 2, 3))


def glow(model: nn.Module) -> None:
    """Fill a coupling's convolutions with N(0, 0.05), its last with 0; biases 0; mixes are turns."""
    for module in model.modules():
        if isinstance(module, GlowStep):
            for conv in (module.conv1, module.conv2):
                nn.init.normal_(conv.weight, std=0.05)
                nn.init.zeros_(conv.get_parameter("bias"))
            nn.init.zeros_(module.conv3.weight)
            nn.init.zeros_(module.conv3.get_parameter("bias"))
            nn.init.orthogonal_(module.mix)


def flowed(step: int, held: bool = False, batch: int = 32) -> Step:
    """Return digits of 17 greys with noise within a grey, and how many bits a pixel takes."""
    x, _ = scans()
    at = torch.arange(256) if held else 256 + rows(step, len(x) - 256, batch)
    g = seeded(HELD + 272 if held else step + 1)
    noisy = (16 * x[at] + torch.rand(len(at), 1, 8, 8, generator=g)) / 17 - 0.5
    greys = math.log2(17)
    return noisy, lambda likely: greys - likely.mean() / (64 * math.log(2))


# Events

CHANNELS, TICKS, KINDS = 40, 20, 6


@cache
def events(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return spikes (count, ticks, channels) of a sensor, and which of six things moved past it."""
    g = seeded(seed)
    when = uniform(seeded(9), KINDS, CHANNELS, low=1, high=TICKS - 1)
    kind = torch.randint(KINDS, (count,), generator=g)
    at = when[kind] + torch.randn(count, CHANNELS, generator=g)
    spikes = (torch.arange(TICKS)[:, None] - at[:, None]).abs() < 0.5
    spikes = spikes & (torch.rand(spikes.shape, generator=g) < 0.8)
    return (spikes | (torch.rand(spikes.shape, generator=g) < 0.03)).float(), kind


class Spike(torch.autograd.Function):
    """A step, with the slope of a fast sigmoid."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        """Return 1 where x is above 0, else 0."""
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *slopes: torch.Tensor) -> torch.Tensor:
        """Return the slope, as if of a fast sigmoid."""
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return slopes[0] / (10 * x.abs() + 1) ** 2


class Spiking(nn.Module):
    """Leaky units that spike and hear each other; leaky readouts, their largest values."""

    def __init__(self, hidden: int = 64, alpha: float = 0.8, beta: float = 0.9) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.w1 = nn.Parameter(torch.empty(CHANNELS, hidden))
        self.v1 = nn.Parameter(torch.empty(hidden, hidden))
        self.w2 = nn.Parameter(torch.empty(hidden, KINDS))
        for weight in (self.w1, self.v1, self.w2):
            scale = 7 * (1 - beta)
            nn.init.normal_(weight, std=scale / math.sqrt(len(weight)))

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """Return the logits of kinds."""
        current = torch.einsum("bti,ih->tbh", spikes, self.w1)
        synapse = voltage = out = spiked = torch.zeros_like(current[0])
        fired = []
        for given in current:
            spiked = Spike.apply(voltage - 1)
            synapse = self.alpha * synapse + given + spiked @ self.v1
            voltage = (self.beta * voltage + synapse) * (1 - spiked.detach())
            fired.append(spiked)
        flow = out = torch.zeros(len(spikes), KINDS)
        outs = []
        for given in torch.stack(fired) @ self.w2:
            out = self.beta * out + flow
            flow = self.alpha * flow + given
            outs.append(out)
        return torch.stack(outs).amax(dim=0)


def fired(step: int, seed: int = 273, count: int = 2048, batch: int = 48) -> Step:
    """Return events, what moved to be told."""
    spikes, kind = events(seed, count)
    at = rows(step, count, batch)
    return spikes[at], lambda output: cross_entropy(output, kind[at])


# Fifty layers


def rolls(seed: int, count: int) -> Step:
    """Return points of two rolled-up strips, in the first two of eight numbers, and whose each is."""
    g = seeded(seed)
    strip = torch.randint(2, (count,), generator=g)
    turn = 3 * math.pi * uniform(g, count, low=0.1).sqrt()
    radius = turn / (3 * math.pi)
    angle = turn + math.pi * strip
    at = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    at = at + 0.02 * torch.randn(count, 2, generator=g)
    return torch.cat([at, torch.zeros(count, 6)], dim=1), lambda output: cross_entropy(
        output, strip
    )


class HamiltonianLayers(nn.Module):
    """Fifty small steps along a field that neither grows nor shrinks: y + h J K' tanh(K y + b)."""

    def __init__(self, dim: int = 8, layers: int = 50, time: float = 5.0) -> None:
        super().__init__()
        self.h = time / layers
        self.k = nn.Parameter(torch.randn(layers, dim, dim))
        self.b = nn.Parameter(torch.randn(layers, dim))
        half = torch.triu(torch.ones(dim, dim), 1)
        self.j: torch.Tensor
        self.register_buffer("j", half.T - half)
        self.out = nn.Linear(dim, 2)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return the logits of both strips."""
        for k, b in zip(self.k, self.b, strict=True):
            y = y + self.h * (torch.tanh(y @ k + b) @ (k.T @ self.j))
        return self.out(y)


def zero_classifier(model: nn.Module) -> None:
    """Fill matrices and biases of all layers with N(0, 1), and the classifier with 0."""
    for name, parameter in model.named_parameters():
        if name.startswith("out"):
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter)


CODES = {
    "Barlow Twins, leaves": Task(
        BarlowTwins,
        viewed,
        lambda: viewed(0, HELD + 271, 256, 256),
        zero_residuals,
        "Zbontar et al. 2021, its code: ResNet of He's normal, zero last scales; projector as torch",
    ),
    "Glow, digits": Task(
        Glow,
        flowed,
        lambda: flowed(0, held=True),
        glow,
        "Kingma & Dhariwal 2018 and its code: N(0, 0.05), last convolutions 0, mixes rotations",
        floor=1.0,
    ),
    "spiking network, events": Task(
        Spiking,
        fired,
        lambda: fired(0, HELD + 273, 256, 256),
        None,
        "Zenke & Ganguli, fzenke/spytorch: N(0, 0.7^2 / inputs)",
    ),
    "fifty Hamiltonian layers, rolled-up strips": Task(
        HamiltonianLayers,
        lambda step: rolls(step, 128),
        lambda: rolls(HELD, 256),
        zero_classifier,
        "Galimberti et al. 2021, DecodEPFL/HamiltonianNet: N(0, 1), biases too, classifier 0",
    ),
}
