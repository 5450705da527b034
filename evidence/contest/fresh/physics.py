"""Physics and fields: a shock wave, an operator, a spiral's flow, a surface, a picture."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import gelu, l1_loss, mse_loss

# Burgers' equation, known by its residual

VISCOSITY = 0.05


class PINN(nn.Module):
    """A network of place and time, scaled to ±1."""

    def __init__(self, width: int = 20, hidden: int = 8) -> None:
        super().__init__()
        sizes = [2, *[width] * hidden]
        layers = [m for n_in, n_out in pairwise(sizes) for m in (nn.Linear(n_in, n_out), nn.Tanh())]
        self.net = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, tx: torch.Tensor) -> torch.Tensor:
        """Return the velocity at times (first column) and places (second), of shape (points, 1)."""
        scaled = torch.stack([2 * tx[:, 0] - 1, tx[:, 1]], dim=1)
        return self.net(scaled)


def raissi(model: nn.Module) -> None:
    """Fill by Xavier's normal, with zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)


def shock(step: int, inside: int = 96) -> Step:
    """Return points, and the residual of Burgers' equation with its start and its ends."""
    g = seeded(step)
    points = torch.cat([uniform(g, inside, 1), uniform(g, inside, 1, low=-1)], dim=1)
    start = torch.cat([torch.zeros(32, 1), uniform(g, 32, 1, low=-1)], dim=1)
    ends = torch.cat([uniform(g, 16, 1), uniform(g, 16, 1).round() * 2 - 1], dim=1)
    tx = torch.cat([points, start, ends]).requires_grad_()

    def loss(u: torch.Tensor) -> torch.Tensor:
        first = torch.autograd.grad(u.sum(), tx, create_graph=True)[0]
        u_xx = torch.autograd.grad(first[:, 1].sum(), tx, create_graph=True)[0][:inside, 1]
        residual = first[:inside, 0] + u[:inside, 0] * first[:inside, 1] - VISCOSITY * u_xx
        begun = u[inside : inside + 32, 0] + torch.sin(math.pi * start[:, 1])
        return (residual**2).mean() + (begun**2).mean() + (u[inside + 32 :] ** 2).mean()

    return tx, loss


def solved() -> Step:
    """Return a grid of times and places, and the distance to the solution of Cole and Hopf."""
    t, x = torch.meshgrid(torch.linspace(0.05, 1, 16), torch.linspace(-1, 1, 33), indexing="ij")
    t, x = t.flatten().double(), x.flatten().double()
    nodes = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    y = x[:, None] - torch.sqrt(4 * VISCOSITY * t)[:, None] * nodes
    weight = torch.exp(-torch.cos(math.pi * y) / (2 * math.pi * VISCOSITY) - nodes**2)
    u = -(torch.sin(math.pi * y) * weight).sum(1) / weight.sum(1)
    return torch.stack([t, x], dim=1).float(), lambda output: mse_loss(output[:, 0], u.float())


# The same equation as an operator between functions


@cache
def flows(seed: int, count: int, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random periodic velocities with their grid, and those velocities a while later."""
    g = seeded(seed)
    k = torch.arange(size // 2 + 1)
    spectrum = torch.complex(*torch.randn(2, count, size // 2 + 1, generator=g)) / (1 + k) ** 1.5
    spectrum[:, 0] = 0
    spectrum[:, 12:] = 0
    u0 = torch.fft.irfft(spectrum * size / 2, n=size)
    decay = torch.exp(-0.02 * k**2 * 0.005)
    half = 1j * k * 0.005 / 2 * (k < size // 3)
    u = torch.fft.rfft(u0)
    for _ in range(160):
        middle = u - half / 2 * torch.fft.rfft(torch.fft.irfft(u, n=size) ** 2)
        u = (u - half * torch.fft.rfft(torch.fft.irfft(middle, n=size) ** 2)) * decay
    grid = torch.linspace(0, 1, size).expand(count, -1)
    return torch.stack([u0, grid], dim=2), torch.fft.irfft(u, n=size)[:, :, None]


class SpectralConv(nn.Module):
    """A matrix for each of the lowest frequencies, kept as real and imaginary parts."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weights = nn.Parameter(torch.rand(width, width, modes, 2) / (width * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the filtered signal, of the input's shape (batch, width, length)."""
        low = torch.fft.rfft(x)[:, :, : self.modes]
        out = torch.einsum("bix,iox->box", low, torch.view_as_complex(self.weights))
        return torch.fft.irfft(out, n=x.shape[2])


class FNO(nn.Module):
    """Four layers of filters over frequencies, beside convolutions of size one."""

    def __init__(self, width: int = 20, modes: int = 12) -> None:
        super().__init__()
        self.fc0 = nn.Linear(2, width)
        self.convs = nn.ModuleList(SpectralConv(width, modes) for _ in range(4))
        self.ws = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, 64), nn.Linear(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the velocity later, of shape (batch, length, 1)."""
        x = self.fc0(x).permute(0, 2, 1)
        for i, (conv, w) in enumerate(zip(self.convs, self.ws, strict=True)):
            x = conv(x) + w(x)
            x = gelu(x) if i < 3 else x
        return self.fc2(gelu(self.fc1(x.permute(0, 2, 1))))


def carried(step: int, seed: int = 52, count: int = 512, batch: int = 8) -> Step:
    """Return velocities, and the relative distance to those a while later."""
    x, y = flows(seed, count)
    at = rows(step, count, batch)
    later = y[at]
    size = later.flatten(1).norm(dim=1)
    return x[at], lambda output: ((output - later).flatten(1).norm(dim=1) / size).mean()


# A spiral, by an ordinary differential equation


@cache
def spiral() -> tuple[torch.Tensor, torch.Tensor]:
    """Return 400 places on a spiral and the five that follow each, steps of 0.05 apart."""
    rule = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64)
    place, path = torch.tensor([[2.0, 0.0]], dtype=torch.float64), []
    for _ in range(4060):
        path.append(place)
        middle = place + 0.0025 * place**3 @ rule
        place = place + 0.005 * middle**3 @ rule
    line = torch.cat(path)[::10].float()
    every = torch.arange(400)[:, None] + torch.arange(6)
    return line[:400], line[every][:, 1:]


class ODEFunc(nn.Module):
    """What moves a point: a network of its cube, by fixed steps of Runge and Kutta."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))

    def field(self, y: torch.Tensor) -> torch.Tensor:
        """Return the speed at a place."""
        return self.net(y**3)

    def forward(self, y: torch.Tensor, h: float = 0.05) -> torch.Tensor:
        """Return the next five places, of shape (batch, 5, 2)."""
        places = []
        for _ in range(5):
            k1 = self.field(y)
            k2 = self.field(y + h / 2 * k1)
            k3 = self.field(y + h / 2 * k2)
            k4 = self.field(y + h * k3)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            places.append(y)
        return torch.stack(places, dim=1)


def ode_demo(model: nn.Module) -> None:
    """Fill as torchdiffeq's demo: N(0, 0.1), zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, mean=0, std=0.1)
            nn.init.zeros_(module.bias)


def followed(step: int, held: bool = False, batch: int = 40) -> Step:
    """Return places, and the distance to those that follow; each eighth block is held out."""
    x, y = spiral()
    out = torch.arange(400) // 10 % 8 == 5
    near = torch.roll(out, -5) | torch.roll(out, 5)
    kept = (out if held else ~(out | near)).nonzero()[:, 0]
    at = kept if held else kept[rows(step, len(kept), batch)]
    return x[at], lambda output: l1_loss(output, y[at])


# A surface, by its signed distance


def distance(p: torch.Tensor) -> torch.Tensor:
    """Return the signed distance to a ring beside a ball, of shape (points, 1)."""
    ring = torch.sqrt((p[:, :2].norm(dim=1) - 0.5) ** 2 + p[:, 2] ** 2) - 0.18
    ball = (p - torch.tensor([0.3, 0.3, 0.4])).norm(dim=1) - 0.3
    return torch.minimum(ring, ball)[:, None]


class ImplicitNet(nn.Module):
    """Sharp softplus layers of a point, which is shown again half-way."""

    def __init__(self, width: int = 64, hidden: int = 6, skip: int = 3) -> None:
        super().__init__()
        self.skip, self.last = skip, hidden
        for layer in range(hidden + 1):
            n_in = 3 if layer == 0 else width
            n_out = 1 if layer == hidden else width - 3 if layer + 1 == skip else width
            setattr(self, f"lin{layer}", nn.Linear(n_in, n_out))
        self.activation = nn.Softplus(beta=100)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance, of shape (points, 1)."""
        x = points
        for layer in range(self.last + 1):
            if layer == self.skip:
                x = torch.cat([x, points], dim=1) / math.sqrt(2)
            x = getattr(self, f"lin{layer}")(x)
            if layer < self.last:
                x = self.activation(x)
        return x


def geometric(model: nn.Module) -> None:
    """Fill so that the distance begins as that to a ball of radius one."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for layer in layers[:-1]:
        nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.out_features))
        nn.init.zeros_(layer.bias)
    mean = math.sqrt(math.pi / layers[-1].in_features)
    nn.init.normal_(layers[-1].weight, mean=mean, std=1e-5)
    nn.init.constant_(layers[-1].bias, -1)


def measured(step: int, count: int = 192) -> Step:
    """Return points of the unit cube, half of them near the surface, and their distance to be told."""
    g = seeded(step)
    points = uniform(g, count, 3, low=-1)
    near = points[::2]
    slope = torch.cat([distance(near + shift) for shift in 0.01 * torch.eye(3)], dim=1)
    slope = (slope - distance(near)) / 0.01
    points[::2] = near - slope * distance(near) + 0.05 * torch.randn(count // 2, 3, generator=g)
    truth = distance(points)
    return points, lambda output: l1_loss(output, truth)


# A picture, by grids of features


def picture(p: torch.Tensor) -> torch.Tensor:
    """Return the colours, between 0 and 1, of a picture at points of the unit square."""
    x, y = p[:, 0], p[:, 1]
    turned = torch.sin(18 * x + 5 * torch.sin(6 * y))
    stripes = torch.sigmoid(10 * turned)
    disc = torch.sigmoid(60 * (0.25 - ((x - 0.6) ** 2 + (y - 0.4) ** 2).sqrt()))
    grain = 0.5 + 0.5 * torch.sin(40 * x * y)
    return torch.stack([stripes * (1 - disc) + disc, grain * stripes, 0.2 + 0.7 * disc * y], dim=1)


class HashGrid(nn.Module):
    """Feature grids of rising resolution, looked up between their corners, and a small network."""

    def __init__(self, levels: int = 6, features: int = 2, rows: int = 1024) -> None:
        super().__init__()
        self.rows, self.sizes = rows, [int(4 * 1.5**level) for level in range(levels)]
        self.tables = nn.ModuleList(nn.Embedding(rows, features) for _ in self.sizes)
        hidden = [nn.Linear(levels * features, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
        self.mlp = nn.Sequential(*hidden, nn.Linear(64, 3), nn.Sigmoid())

    def forward(self, p: torch.Tensor) -> torch.Tensor:
        """Return the colours at points of the unit square."""
        found = []
        for size, table in zip(self.sizes, self.tables, strict=True):
            corner = (p * size).floor()
            part = p * size - corner
            total = torch.zeros(1)
            for dx in (0, 1):
                for dy in (0, 1):
                    cell = (corner + torch.tensor([dx, dy])).long()
                    key = torch.bitwise_xor(cell[:, 0], cell[:, 1] * 2654435761) % self.rows
                    share = torch.where(torch.tensor([dx, dy]) == 1, part, 1 - part).prod(1)
                    total = total + share[:, None] * table(key)
            found.append(total)
        return self.mlp(torch.cat(found, dim=1))


def instant(model: nn.Module) -> None:
    """Fill grids with U(±1e-4), and the network by Xavier's uniform without biases."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.uniform_(module.weight, -1e-4, 1e-4)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


def painted(step: int, count: int = 512) -> Step:
    """Return points of a picture, and the distance to its colours."""
    points = uniform(seeded(step), count, 2)
    truth = picture(points)
    return points, lambda output: mse_loss(output, truth)


PHYSICS = {
    "physics-informed network, Burgers": Task(
        PINN,
        shock,
        solved,
        raissi,
        "Raissi et al. 2019, maziarraissi/PINNs: Xavier normal, zero biases",
    ),
    "Fourier neural operator, Burgers": Task(
        FNO,
        carried,
        lambda: carried(0, HELD + 52, 128, 128),
        None,
        "Li et al. 2021, its code: U(0, 1) / (in * out) for frequencies, torch's defaults",
    ),
    "neural ODE, spiral": Task(
        ODEFunc,
        followed,
        lambda: followed(0, held=True),
        ode_demo,
        "Chen et al. 2018, torchdiffeq's ode_demo.py: N(0, 0.1), zero biases",
    ),
    "implicit surface, ring and ball": Task(
        ImplicitNet,
        measured,
        lambda: measured(HELD, 2048),
        geometric,
        "Atzmon and Lipman 2020, amosgropp/IGR: geometric initialization, radius 1",
    ),
    "hash grid, picture": Task(
        HashGrid,
        painted,
        lambda: painted(HELD, 2048),
        instant,
        "Müller et al. 2022, section 4: grids U(-1e-4, 1e-4), the network by Xavier",
    ),
}
