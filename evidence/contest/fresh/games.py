"""Games and control: a recorded cart and pole, values of a pendulum, noughts and crosses."""

from __future__ import annotations

import math
from functools import cache

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

# Cart and pole: a policy and a value from recorded play


@cache
def carts(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return states of carts and poles, pushes, and what is earned before the pole falls."""
    g = seeded(seed)
    state = uniform(g, count, 4, low=-1) * torch.tensor([1.0, 1.0, 0.15, 1.0])
    first, wish = state, torch.tensor([0.3, 0.6, 8.0, 2.0])
    push = (state @ wish > 0).long()
    earned, alive = torch.zeros(count), torch.ones(count)
    for step in range(60):
        force = torch.where(state @ wish + 0.5 * torch.randn(count, generator=g) > 0, 10.0, -10.0)
        x, v, a, w = state.T
        sin, cos = torch.sin(a), torch.cos(a)
        temp = (force + 0.05 * w**2 * sin) / 1.1
        turn = (9.8 * sin - cos * temp) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        speed = temp - 0.05 * turn * cos / 1.1
        state = torch.stack([x + 0.02 * v, v + 0.02 * speed, a + 0.02 * w, w + 0.02 * turn], dim=1)
        alive = alive * ((state[:, 0].abs() < 1.2) & (state[:, 2].abs() < 0.21))
        earned = earned + alive * 0.97**step
    return first, push, earned


class ActorCritic(nn.Module):
    """A policy and a value, each with two layers of tanh."""

    def __init__(self) -> None:
        super().__init__()

        def network(n_out: int) -> nn.Sequential:
            hidden = [nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()]
            return nn.Sequential(*hidden, nn.Linear(64, n_out))

        self.actor, self.critic = network(2), network(1)

    def forward(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of pushes, and the value."""
        return self.actor(state), self.critic(state).squeeze(1)


def ppo(model: nn.Module) -> None:
    """Fill orthogonally: gain sqrt(2), last layers 0.01 (policy) and 1 (value); zero biases."""
    last = {"actor.4": 0.01, "critic.4": 1.0}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight, last.get(name, math.sqrt(2)))
            nn.init.zeros_(module.bias)


def driven(step: int, seed: int = 61, count: int = 8000, batch: int = 1024) -> Step:
    """Return states, and the loss of pushes with a share of the loss of values."""
    state, push, earned = carts(seed, count)
    at = rows(step, count, batch)

    def loss(output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        logits, value = output
        return cross_entropy(logits, push[at]) + 0.5 * mse_loss(value, earned[at] / 10)

    return state[at], loss


# A pendulum: values of actions


@cache
def swings(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what is seen of a pendulum, a torque, and discounted rewards of a player's 40 steps."""
    g = seeded(seed)
    angle, speed = uniform(g, count, low=-math.pi, high=math.pi), uniform(g, count, low=-6, high=6)
    seen = torch.stack([torch.cos(angle), torch.sin(angle), speed], dim=1)
    first = torque = uniform(g, count, low=-2, high=2)
    value = torch.zeros(count)
    for step in range(40):
        bent = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
        value = value - 0.95**step * (bent**2 + 0.1 * speed**2 + 0.001 * torque**2)
        speed = (speed + 0.05 * (15 * torch.sin(angle) + 3 * torque)).clamp(-8, 8)
        angle = angle + 0.05 * speed
        torque = torch.where(
            torch.cos(angle) > 0.8, -10 * torch.sin(angle) - speed, speed.sign() * 2
        )
        torque = torque.clamp(-2, 2)
    return seen, first[:, None], value[:, None]


class Critic(nn.Module):
    """The value of an action, which is shown to the second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 400)
        self.fc2 = nn.Linear(400 + 1, 300)
        self.fc3 = nn.Linear(300, 1)

    def forward(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the value, of shape (batch, 1)."""
        x = torch.relu(self.fc1(state))
        x = torch.relu(self.fc2(torch.cat([x, action], dim=1)))
        return self.fc3(x)


def ddpg(model: nn.Module) -> None:
    """Fill with U(±1 / sqrt(inputs)), and the last layer with U(±3e-3)."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            bound = 3e-3 if name == "fc3" else module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.uniform_(module.bias, -bound, bound)


def swung(step: int, seed: int = 62, count: int = 8000, batch: int = 128) -> Step:
    """Return states and torques, their value to be told, as it comes."""
    state, action, value = swings(seed, count)
    at = rows(step, count, batch)
    inputs = {"state": state[at], "action": action[at]}
    return inputs, lambda output: mse_loss(output, value[at])


# Noughts and crosses: the moves of a perfect player

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


@cache
def best(board: tuple[int, ...]) -> int:
    """Return what the player to move (1, against -1) will get: 1, 0 or -1."""
    if any(all(board[i] == -1 for i in line) for line in LINES):
        return -1
    values = [-best(after(board, move)) for move in range(9) if not board[move]]
    return max(values, default=0)


def after(board: tuple[int, ...], move: int) -> tuple[int, ...]:
    """Return the board after a move, as the other player sees it."""
    return tuple(-1 if i == move else -mark for i, mark in enumerate(board))


def boards(board: tuple[int, ...], seen: set[tuple[int, ...]]) -> None:
    """Add to `seen` every board from here on where a move is left to make."""
    over = any(all(board[i] == -1 for i in line) for line in LINES)
    if board in seen or over or all(board):
        return
    seen.add(board)
    for move in range(9):
        if not board[move]:
            boards(after(board, move), seen)


@cache
def play() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return all 4,520 boards as two planes, the shares of their best moves, and their values."""
    seen: set[tuple[int, ...]] = set()
    boards((0,) * 9, seen)
    known = sorted(seen)
    known = [known[i] for i in torch.randperm(len(known), generator=seeded(63)).tolist()]
    marks = torch.tensor(known).view(-1, 1, 3, 3)
    values = torch.tensor([best(board) for board in known])
    moves = torch.tensor(
        [[not b[m] and -best(after(b, m)) == best(b) for m in range(9)] for b in known]
    ).float()
    planes = torch.cat([marks == 1, marks == -1], dim=1).float()
    return planes, moves / moves.sum(1, keepdim=True), values.float()


class AlphaZero(nn.Module):
    """A tower of residual convolutions with batch norm, and heads for moves and value."""

    def __init__(self, width: int = 32, blocks: int = 3) -> None:
        super().__init__()

        def conv(n_in: int, n_out: int, size: int = 3) -> list[nn.Module]:
            layer = nn.Conv2d(n_in, n_out, size, padding=size // 2, bias=False)
            return [layer, nn.BatchNorm2d(n_out)]

        self.stem = nn.Sequential(*conv(2, width), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(*conv(width, width), nn.ReLU(), *conv(width, width))
            for _ in range(blocks)
        )
        flat = [nn.ReLU(), nn.Flatten()]
        self.policy = nn.Sequential(*conv(width, 2, 1), *flat, nn.Linear(18, 9))
        value = [nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, 1), nn.Tanh()]
        self.value = nn.Sequential(*conv(width, 1, 1), nn.ReLU(), nn.Flatten(), *value)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of the moves, and the value."""
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.policy(x), self.value(x).squeeze(1)


def moved(step: int, held: bool = False, batch: int = 32) -> Step:
    """Return boards, and how far moves and values are from a perfect player's."""
    x, moves, values = play()
    at = torch.arange(512) if held else 512 + rows(step, len(x) - 512, batch)

    def loss(output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        policy = kl_div(log_softmax(output[0], dim=1), moves[at], reduction="batchmean")
        return policy + mse_loss(output[1], values[at])

    return x[at], loss


GAMES = {
    "actor and critic, cart and pole": Task(
        ActorCritic,
        driven,
        lambda: driven(0, HELD + 61, 512, 512),
        ppo,
        "Schulman et al. 2017 in openai/baselines and CleanRL: orthogonal, policy x 0.01",
    ),
    "critic, pendulum": Task(
        Critic,
        swung,
        lambda: swung(0, HELD + 62, 512, 512),
        ddpg,
        "Lillicrap et al. 2016, section 7: U(±1 / sqrt(inputs)), last layer U(±3e-3)",
    ),
    "policy and value tower, noughts and crosses": Task(
        AlphaZero,
        moved,
        lambda: moved(0, held=True),
        None,
        "Silver et al. 2017; suragnair/alpha-zero-general: torch's defaults",
    ),
}
