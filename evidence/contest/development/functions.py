"""Networks of coordinates: a curve, a picture and a shape; and a policy learned from a teacher."""

from __future__ import annotations

import math

import torch
from evidence.contest.development.batches import drawn, generated
from evidence.contest.development.recipes import he
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import mse_loss

OMEGA, RADIUS = 30.0, 0.5


def curve() -> nn.Module:
    """Return a perceptron from one number to one."""
    hidden = [m for _ in range(3) for m in (nn.Linear(100, 100), nn.ReLU())]
    return nn.Sequential(nn.Linear(1, 100), nn.ReLU(), *hidden, nn.Linear(100, 1))


def waved(seed: int, count: int) -> Step:
    """Return points of a line, and the distance from a sum of waves and a step."""
    x = torch.rand(count, 1, generator=drawn(seed)) * 6 - 3
    y = torch.sin(2 * x) + 0.5 * torch.sin(5 * x) + 0.5 * (x > 1)
    return x, lambda output: mse_loss(output, y)


class Sine(nn.Module):
    """A linear layer and the sine of thirty times its output."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sines."""
        return torch.sin(OMEGA * self.linear(x))


def siren() -> nn.Module:
    """Return a network of sines from two coordinates to a brightness."""
    return nn.Sequential(Sine(2, 64), *(Sine(64, 64) for _ in range(3)), nn.Linear(64, 1))


def sines(model: nn.Module) -> None:
    """Fill as SIREN: the first layer by its fan-in, the others by that of sines."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for index, layer in enumerate(linears):
        n = layer.in_features
        bound = math.sqrt(6 / n) / OMEGA if index else 1 / n
        nn.init.uniform_(layer.weight, -bound, bound)


def brightness(xy: torch.Tensor) -> torch.Tensor:
    """Return a picture at points: a disc with stripes, and a glow."""
    x, y = xy.unbind(-1)
    disc = torch.sigmoid(20 * (0.6 - (x - 0.1).hypot(y)))
    glow = torch.exp(-4 * ((x + 0.6) ** 2 + (y - 0.6) ** 2))
    return (disc * torch.sin(12 * x + 5 * y) + glow).unsqueeze(-1)


def painted(seed: int, count: int) -> Step:
    """Return points of a picture, and the distance from its brightness."""
    xy = torch.rand(count, 2, generator=drawn(seed)) * 2 - 1
    target = brightness(xy)
    return xy, lambda output: mse_loss(output, target)


class Shape(nn.Module):
    """A signed distance by seven layers, the point given again half way."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(2, 64), (64, 64), (64, 62), (64, 64), (64, 64), (64, 64)]
        self.hidden = nn.ModuleList(nn.Linear(*size) for size in sizes)
        self.last = nn.Linear(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the distance of each point."""
        h = x
        for index, layer in enumerate(self.hidden):
            if index == 3:
                h = torch.cat([h, x], dim=-1) / math.sqrt(2)
            h = torch.relu(layer(h))
        return self.last(h)


def geometric(model: nn.Module) -> None:
    """Fill so that the network starts as the distance from a circle."""
    assert isinstance(model, Shape)
    for layer in model.hidden:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, 0, math.sqrt(2 / layer.out_features))
        nn.init.zeros_(layer.bias)
    nn.init.normal_(model.last.weight, math.sqrt(math.pi / model.last.in_features), 1e-5)
    nn.init.constant_(model.last.bias, -RADIUS)


def distant(seed: int, count: int) -> Step:
    """Return points of a square, and the distance from how far they are from a box and a disc."""
    xy = torch.rand(count, 2, generator=drawn(seed)) * 2 - 1
    disc = (xy - torch.tensor([0.4, 0.4])).norm(dim=1) - 0.3
    over = (xy + 0.3).abs() - torch.tensor([0.4, 0.25])
    box = over.clamp(min=0).norm(dim=1) + over.amax(1).clamp(max=0)
    target = torch.minimum(disc, box).unsqueeze(1)
    return xy, lambda output: mse_loss(output, target)


class Policy(nn.Module):
    """What to do to a pendulum, how sure that is, and what the state is worth."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.mean = nn.Linear(64, 1)
        self.log_std = nn.Linear(64, 1)
        self.value = nn.Linear(64, 1)

    def forward(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the action's mean and standard deviation, and the state's value."""
        h = self.body(state)
        return self.mean(h), self.log_std(h).exp(), self.value(h)


def small_heads(model: nn.Module) -> None:
    """Fill as proximal policy optimization: orthogonal, the policy's heads of 0.01."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight, math.sqrt(2))
            nn.init.zeros_(module.bias)
    assert isinstance(model, Policy)
    nn.init.orthogonal_(model.mean.weight, 0.01)
    nn.init.orthogonal_(model.log_std.weight, 0.01)
    nn.init.orthogonal_(model.value.weight, 1.0)


def taught(seed: int, count: int) -> Step:
    """Return states of a pendulum, and how unlikely a teacher's noisy action is by the policy."""
    random = drawn(seed)
    angle = (torch.rand(count, 1, generator=random) * 2 - 1) * math.pi
    speed = torch.randn(count, 1, generator=random) * 2
    state = torch.cat([angle.cos(), angle.sin(), speed], dim=1)
    spread = 0.1 + 0.4 * angle.sin().abs()
    best = torch.where(angle.cos() > 0.5, -3 * angle - speed, speed.sign()).clamp(-2, 2)
    action = best + spread * torch.randn(count, 1, generator=random)
    value = -(angle.square() + 0.1 * speed.square()) / 5

    def loss(output: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        mean, std, worth = output
        unlikely = -torch.distributions.Normal(mean, std).log_prob(action).mean()
        return unlikely + 0.5 * mse_loss(worth, value)

    return state, loss


TASKS = {
    "curve, ReLU": Task(
        curve,
        *generated(waved, 128),
        he,
        "He et al. 2015, equation 10: normal of variance 2 / fan-in, biases of zero",
    ),
    "SIREN, picture": Task(
        siren,
        *generated(painted, 256),
        sines,
        "Sitzmann et al. 2020, section 3.2; its code: first U(-1/n, 1/n), then U(±sqrt(6/n)/30)",
    ),
    "signed distance of a shape": Task(
        Shape,
        *generated(distant, 128),
        geometric,
        "Atzmon & Lipman 2020 (SAL), theorem 1; its code: N(0, 2/n_out), last N(sqrt(pi/n), 1e-5), -r",
    ),
    "policy, pendulum": Task(
        Policy,
        *generated(taught, 128),
        small_heads,
        "Huang et al. 2022 (37 details of PPO), 2: orthogonal sqrt(2), policy heads 0.01, value 1",
    ),
}
