"""Other kinds: a genome's signals, weights made by a network, an equilibrium, learned functions."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot, relu, silu

# Splice sites in a genome

MOTIFS = ("CAGGTAAG", "TTTCAGG")


@cache
def genome(seed: int, count: int, length: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one-hot stretches of a genome (count, 4, length), and what each base begins: 0, 1 or 2.

    A motif counts where it is whole, once in a while with a changed base; half-motifs are decoys.
    """
    g = seeded(seed)
    bases = torch.randint(4, (count, length), generator=g)
    truth = torch.zeros(count, length, dtype=torch.long)
    for slot in range(3):
        kind = torch.randint(2, (count,), generator=g)
        place = torch.randint(7, (count,), generator=g) + 16 * slot
        whole = uniform(g, count) < 0.7
        for which, motif in enumerate(MOTIFS):
            letters = torch.tensor(["ACGT".index(c) for c in motif])
            at = (kind == which).nonzero()[:, 0]
            half = torch.where(whole[at], len(motif), len(motif) // 2)
            for i, letter in enumerate(letters):
                kept = (i < half) & (uniform(g, len(at)) > 0.03)
                spot = place[at] + i
                bases[at, spot] = torch.where(kept, letter, bases[at, spot])
            truth[at, place[at]] = torch.where(whole[at], which + 1, 0)
    return one_hot(bases, 4).float().transpose(1, 2).contiguous(), truth


class SpliceUnit(nn.Module):
    """Two dilated convolutions behind batch norm and ReLU, around a residual."""

    def __init__(self, width: int, size: int, dilation: int) -> None:
        super().__init__()
        pad = dilation * (size - 1) // 2
        self.bn1, self.bn2 = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.conv1 = nn.Conv1d(width, width, size, dilation=dilation, padding=pad)
        self.conv2 = nn.Conv1d(width, width, size, dilation=dilation, padding=pad)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the unit's output."""
        out = self.conv1(torch.relu(self.bn1(x)))
        return x + self.conv2(torch.relu(self.bn2(out)))


class SpliceAI(nn.Module):
    """Residual units of rising reach, with skips to the end."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1, self.skip = nn.Conv1d(4, width, 1), nn.Conv1d(width, width, 1)
        self.units = nn.ModuleList(SpliceUnit(width, 5, 1 if i < 3 else 2) for i in range(6))
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(2))
        self.out = nn.Conv1d(width, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of each base, of shape (batch, 3, length)."""
        x = self.conv1(x)
        skip = self.skip(x)
        for i, unit in enumerate(self.units):
            x = unit(x)
            if i % 3 == 2:
                skip = skip + self.convs[i // 3](x)
        return self.out(skip)


def spliced(step: int, seed: int = 81, count: int = 2000, batch: int = 8) -> Step:
    """Return stretches of a genome, each base to be marked."""
    x, y = genome(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: cross_entropy(output, y[at])


# Weights made by a network

TARGET = (1, 24, 24, 1)


class HyperNetwork(nn.Module):
    """A network of a task's code that makes the weights of a network of one number."""

    def __init__(self, code: int = 4, hidden: int = 48) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        pairs = list(pairwise(TARGET))
        self.weights = nn.ModuleList(nn.Linear(hidden, n_in * n_out) for n_in, n_out in pairs)
        self.biases = nn.ModuleList(nn.Linear(hidden, n_out) for _, n_out in pairs)

    def forward(self, code: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the function's values at x, of shape (batch, points, 1)."""
        e = self.trunk(code)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            w = weight(e).view(len(e), TARGET[layer], TARGET[layer + 1])
            x = torch.baddbmm(bias(e)[:, None], x, w)
            if layer < len(TARGET) - 2:
                x = torch.relu(x)
        return x


def hyperfan(model: nn.Module) -> None:
    """Fill the trunk as He, and heads so that what they make has He's variance (hyperfan-in)."""
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        nn.init.zeros_(module.bias)
        kind, _, layer = name.partition(".")
        if kind == "trunk":
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            continue
        rectified = 2 if int(layer) < len(TARGET) - 2 else 1
        fans = module.in_features * (TARGET[int(layer)] if kind == "weights" else 1)
        bound = math.sqrt(3 * rectified / (2 * fans))
        nn.init.uniform_(module.weight, -bound, bound)


def made(step: int, tasks: int = 64, points: int = 32) -> Step:
    """Return codes of curves, and places where their values are to be told."""
    g = seeded(step)
    code = torch.randn(tasks, 4, generator=g)
    x = uniform(g, tasks, points, 1, low=-2, high=2)
    loud, phase, slope, bend = code.T[:, :, None, None]
    y = (1 + 0.5 * loud) * torch.sin(2 * x + phase) + 0.5 * slope * x
    y = y + 0.4 * bend * x.abs()
    return {"code": code, "x": x}, lambda output: mse_loss(output, y)


# The equilibrium of a heated plate


@cache
def plates(seed: int, count: int, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sources of heat on a plate with cold edges, and its temperature at rest, scaled to 1."""
    g = seeded(seed)
    n = torch.arange(1, size + 1)
    modes = torch.sin(math.pi * torch.outer(n, n) / (size + 1)) * math.sqrt(2 / (size + 1))
    spots = (uniform(g, count, size, size) < 0.04).float()
    source = spots * torch.randn(count, size, size, generator=g)
    source = source + 0.05 * torch.randn(count, size, size, generator=g)
    rate = 2 - 2 * torch.cos(math.pi * n / (size + 1))
    heat = modes @ ((modes @ source @ modes) / (rate[:, None] + rate)) @ modes
    return (source / 0.21)[:, None], (heat / 0.23)[:, None]


class DEQ(nn.Module):
    """One residual cell that is run until it rests, with the gradient of its last rounds."""

    def __init__(self, width: int = 16, inner: int = 20) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, inner, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(inner, width, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(4, inner)
        self.norm2, self.norm3 = nn.GroupNorm(4, width), nn.GroupNorm(4, width)
        self.leave = nn.Conv2d(width, 1, 3, padding=1)

    def cell(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the next state."""
        y = self.norm1(relu(self.conv1(z)))
        return self.norm3(relu(z + self.norm2(x + self.conv2(y))))

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        """Return the temperature, of the source's shape (batch, 1, size, size)."""
        x = self.norm(self.enter(source))
        z = torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(6):
                z = self.cell(z, x)
        for _ in range(3):
            z = self.cell(z, x)
        return self.leave(z)


def tutorial(model: nn.Module) -> None:
    """Fill the cell's convolutions with N(0, 0.01)."""
    for name in ("conv1.weight", "conv2.weight"):
        nn.init.normal_(model.get_parameter(name), std=0.01)


def heated(step: int, seed: int = 83, count: int = 1000, batch: int = 6) -> Step:
    """Return sources, the temperature at rest to be told."""
    x, y = plates(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: mse_loss(output, y[at])


# A formula of physics, by learned functions


class FastKANLayer(nn.Module):
    """A sum of learned functions of each input: Gaussian bumps of the normed input, and SiLU."""

    centres: torch.Tensor

    def __init__(self, n_in: int, n_out: int, bumps: int = 8) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(n_in)
        self.register_buffer("centres", torch.linspace(-2, 2, bumps), persistent=False)
        self.spline_linear = nn.Linear(n_in * bumps, n_out, bias=False)
        self.base_linear = nn.Linear(n_in, n_out)
        self.width = 4 / (bumps - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output."""
        bumps = torch.exp(-(((self.layernorm(x)[:, :, None] - self.centres) / self.width) ** 2))
        return self.spline_linear(bumps.flatten(1)) + self.base_linear(silu(x))


def fast_kan() -> nn.Module:
    """Return three layers of learned functions."""
    return nn.Sequential(FastKANLayer(5, 40), FastKANLayer(40, 40), FastKANLayer(40, 1))


def li(model: nn.Module) -> None:
    """Fill the bumps' weights with a normal of 0.1 cut at 2."""
    for name, parameter in model.named_parameters():
        if name.endswith("spline_linear.weight"):
            nn.init.trunc_normal_(parameter, mean=0, std=0.1)


def pulled(step: int, count: int = 192) -> Step:
    """Return two masses and a gap in three directions, and how strongly they pull (I.9.18)."""
    x = uniform(seeded(step), count, 5, low=-1)
    far = ((1.5 + x[:, 2:]) ** 2).sum(1)
    y = (2 + x[:, :1]) * (2 + x[:, 1:2]) / far[:, None]
    return x, lambda output: mse_loss(output, y)


OTHERS = {
    "SpliceAI, motifs in a genome": Task(
        SpliceAI,
        spliced,
        lambda: spliced(0, HELD + 81, 256, 256),
        None,
        "Jaganathan et al. 2019; its PyTorch versions (OpenSpliceAI): the framework's defaults",
    ),
    "hypernetwork, curves": Task(
        HyperNetwork,
        made,
        lambda: made(HELD, 128, 64),
        hyperfan,
        "Chang et al. 2020, hyperfan-in: U with He's variance for the weights that are made",
    ),
    "deep equilibrium, heated plates": Task(
        DEQ,
        heated,
        lambda: heated(0, HELD + 83, 256, 256),
        tutorial,
        "Kolter et al. 2020, Deep Implicit Layers tutorial, chapter 4: N(0, 0.01) in the cell",
    ),
    "FastKAN, Feynman's I.9.18": Task(
        fast_kan,
        pulled,
        lambda: pulled(HELD, 1024),
        li,
        "Li 2024, ZiyaoLi/fast-kan: truncated N(0, 0.1) for splines, torch's defaults for the base",
    ),
}
