"""What moves: rain on a radar, a star in a galaxy."""

from __future__ import annotations

from functools import cache

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.fresh.images import grid
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import mse_loss

# Rain

SEEN, AHEAD, SIZE = 4, 3, 14


@cache
def rain(seed: int, count: int) -> torch.Tensor:
    """Return radar pictures (count, frames, 1, size, size) of three drifting cells."""
    g = seeded(seed)
    y, x = grid(SIZE)
    t = torch.arange(SEEN + AHEAD).view(1, -1, 1, 1)
    wind = uniform(g, count, 2, 1, 1, 1, low=-0.15, high=0.15)
    frames = torch.zeros(count, SEEN + AHEAD, SIZE, SIZE)
    for _ in range(3):
        start = uniform(g, count, 2, 1, 1, 1, low=-0.8, high=0.8)
        wide = uniform(g, count, 1, 1, 1, low=0.03, high=0.12)
        growth = uniform(g, count, 1, 1, 1, low=-0.1, high=0.1)
        dy, dx = y - start[:, 0] - wind[:, 0] * t, x - start[:, 1] - wind[:, 1] * t
        frames = frames + torch.exp(growth * t - (dy**2 + dx**2) / wide)
    return frames[:, :, None]


class ConvLSTMCell(nn.Module):
    """An LSTM whose states are maps and whose products are convolutions."""

    def __init__(self, n_in: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(n_in + hidden, 4 * hidden, 3, padding=1)

    def forward(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next state: what is shown, and the memory."""
        h, c = state
        i, f, o, g = self.conv(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Nowcast(nn.Module):
    """Two layers that read pictures, and go on from their own forecasts."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.cell1, self.cell2 = ConvLSTMCell(1, hidden), ConvLSTMCell(hidden, hidden)
        self.out = nn.Conv2d(hidden, 1, 1)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Return what follows pictures (batch, seen, 1, size, size)."""
        empty = seen.new_zeros(len(seen), self.cell1.hidden, *seen.shape[-2:])
        state1 = state2 = (empty, empty)
        ahead = []
        frame = seen[:, 0]
        for t in range(SEEN + AHEAD - 1):
            frame = seen[:, t] if t < SEEN else frame
            state1 = self.cell1(frame, state1)
            state2 = self.cell2(state1[0], state2)
            frame = self.out(state2[0])
            if t >= SEEN - 1:
                ahead.append(frame)
        return torch.stack(ahead, dim=1)


def foretold(step: int, seed: int = 251, count: int = 512, batch: int = 3) -> Step:
    """Return radar pictures, those that follow to be foretold."""
    frames = rain(seed, count)[rows(step, count, batch)]
    return frames[:, :SEEN], lambda output: mse_loss(output, frames[:, SEEN:])


# A star in a galaxy


def orbiting(seed: int, count: int) -> Step:
    """Return places and momenta in Hénon and Heiles' potential, and how both change, with noise."""
    g = seeded(seed)
    state = uniform(g, count, 4, low=-1)
    x, y, px, py = state.T
    change = torch.stack([px, py, -x - 2 * x * y, -y - x**2 + y**2], dim=1)
    change = change + 0.01 * torch.randn(count, 4, generator=g)
    return state, lambda output: mse_loss(output, change)


class HamiltonianNetwork(nn.Module):
    """An energy, learned by what its gradient does to a state."""

    def __init__(self, hidden: int = 200) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(4, hidden), nn.Linear(hidden, hidden)
        self.linear3 = nn.Linear(hidden, 1, bias=False)

    def energy(self, state: torch.Tensor) -> torch.Tensor:
        """Return the energy of each state."""
        h = torch.tanh(self.linear2(torch.tanh(self.linear1(state))))
        return self.linear3(h)[:, 0]

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """Return the change of each state, by Hamilton's equations."""
        with torch.enable_grad():
            state = state.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(state).sum(), state, create_graph=True)
        return torch.cat([slope[:, 2:], -slope[:, :2]], dim=1)


def orthogonal_matrices(model: nn.Module) -> None:
    """Fill each matrix with an orthogonal one."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight)


DYNAMICS = {
    "ConvLSTM, rain": Task(
        Nowcast,
        foretold,
        lambda: foretold(0, HELD + 251, 128, 128),
        None,
        "Shi et al. 2015; ndrplz/ConvLSTM_pytorch: torch's defaults",
    ),
    "Hamiltonian network, a star": Task(
        HamiltonianNetwork,
        lambda step: orbiting(step, 384),
        lambda: orbiting(HELD, 256),
        orthogonal_matrices,
        "Greydanus et al. 2019, its code: orthogonal matrices, torch's biases",
    ),
}
