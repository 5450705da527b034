"""Risks and choices: patients, loans, search results, an option."""

from __future__ import annotations

import math
from functools import cache

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, standardized, uniform
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, log_softmax

# Survival with two ends

TIMES = 10


@cache
def patients(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return eight standardized measures, when a patient was last seen, and why: 0 lost, 1, 2 died.

    Times are tenths of the study; two causes compete, and a fifth of the patients is lost.
    """
    g = seeded(seed)
    x = torch.randn(count, 8, generator=g)
    risk1 = 1.5 * x[:, 0] + x[:, 1] * x[:, 2]
    risk2 = -1.2 * x[:, 0] + x[:, 3].abs() + 0.8 * x[:, 4]
    chance = -torch.log(uniform(g, 3, count, low=1e-6))
    first = 6 * torch.exp(-risk1) * chance[0] ** 0.2
    second = 7 * torch.exp(-risk2) * chance[1] ** 0.2
    lost = 20 * chance[2]
    times = torch.stack([lost, first, second])
    when, why = times.min(dim=0)
    over = when >= TIMES - 0.01
    return x, when.long().clamp(max=TIMES - 1), why.masked_fill(over, 0)


class DeepHit(nn.Module):
    """A shared network, and one for each cause that sees the measures again."""

    def __init__(self, shared: int = 128, own: int = 128) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Linear(8, shared), nn.ReLU(), nn.Linear(shared, shared), nn.ReLU()
        )
        self.causes = nn.ModuleList(
            nn.Sequential(nn.Linear(8 + shared, own), nn.ReLU(), nn.Linear(own, own), nn.ReLU())
            for _ in range(2)
        )
        self.out = nn.Linear(2 * own, 2 * TIMES + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return log probabilities of cause and time, the last of outliving the study."""
        h = torch.cat([x, self.shared(x)], dim=1)
        h = torch.cat([cause(h) for cause in self.causes], dim=1)
        return log_softmax(self.out(h), dim=1)


def xavier_zero(model: nn.Module) -> None:
    """Fill layers by Xavier's uniform, with zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


def survived(step: int, seed: int = 261, count: int = 4000, batch: int = 256) -> Step:
    """Return patients, and minus the log-likelihood of what became of them."""
    x, when, why = patients(seed, count)
    at = rows(step, count, batch)
    time, cause = when[at], why[at]

    def loss(output: torch.Tensor) -> torch.Tensor:
        each = output[:, :-1].unflatten(1, (2, TIMES))
        died = each[torch.arange(len(at)), (cause - 1).clamp(min=0), time]
        later = torch.where(torch.arange(TIMES) > time[:, None], 0.0, -math.inf)
        alive = torch.cat([(each + later[:, None]).flatten(1), output[:, -1:]], dim=1)
        return -torch.where(cause > 0, died, torch.logsumexp(alive, dim=1)).mean()

    return x[at], loss


# Loans


@cache
def loans(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ten standardized columns of loans, and whether each was not paid back, by rules."""
    g = seeded(seed)
    income = torch.exp(10 + 0.6 * torch.randn(count, generator=g))
    debt = income * uniform(g, count, high=1.2)
    age = uniform(g, count, low=18, high=80).round()
    late = torch.poisson(torch.full((count,), 0.7), generator=g)
    others = torch.randn(count, 6, generator=g)
    poor, young = income < 20000, age < 30
    bad = torch.where(poor, debt / income > 0.4, (late > 1) & (others[:, 0] > -0.5))
    bad = bad | (young & (others[:, 1] > 0.5)) ^ ((others[:, 2] > 0) & (age > 65))
    bad = bad ^ (torch.rand(count, generator=g) < 0.02)
    columns = torch.stack([income.log(), debt.log1p(), age, late], dim=1)
    return standardized(torch.cat([columns, others], dim=1)), bad.float()


class ObliviousTrees(nn.Module):
    """Trees with the same soft test all along a level; thresholds are taken from rows of data."""

    def __init__(self, known: torch.Tensor, trees: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.rand(known.shape[1], trees, depth))
        row = torch.randint(len(known), (trees, depth))
        column = torch.randint(known.shape[1], (trees, depth))
        self.thresholds = nn.Parameter(known[row, column])
        self.log_temperatures = nn.Parameter(torch.zeros(trees, depth))
        self.responses = nn.Parameter(torch.randn(trees, 2**depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of the trees' answers."""
        value = torch.einsum("bi,itd->btd", x, torch.softmax(self.features, dim=0))
        side = (value - self.thresholds) * torch.exp(-self.log_temperatures)
        right = (0.5 * side + 0.5).clamp(0, 1)
        leaves = torch.ones(len(x), right.shape[1], 1)
        for level in range(right.shape[2]):
            p = right[..., level, None]
            leaves = torch.cat([leaves * p, leaves * (1 - p)], dim=2)
        return (leaves * self.responses).sum(2).mean(1)


def lent(step: int, seed: int = 262, count: int = 4000, batch: int = 192) -> Step:
    """Return loans, to be called bad or not."""
    x, bad = loans(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: binary_cross_entropy_with_logits(output, bad[at])


# Search results

RESULTS = 10


@cache
def searches(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of results (count, results, 12) of heavy tails, and which one was opened.

    A result is opened for what it is, and for how it compares with the others of its list.
    """
    g = seeded(seed)
    x = torch.randn(count, RESULTS, 12, generator=g)
    centred = x - x.mean(1, keepdim=True)
    worth = 2 * x[..., 0] + x[..., 1] * x[..., 2] + 2 * (centred[..., 3].abs() < 0.4)
    worth = 2 * worth - 0.3 * torch.log(-torch.log(uniform(g, count, RESULTS, low=1e-6)))
    tails = torch.sign(x) * torch.expm1(1.2 * x.abs())
    return torch.cat([x[..., :4], tails[..., 4:]], dim=-1), worth.argmax(dim=1)


class Ranker(nn.Module):
    """Layers for each result with batch norm, attention among a list, and a score."""

    def __init__(self, dim: int = 48) -> None:
        super().__init__()
        self.input = nn.Linear(12, dim)
        self.norm1, self.norm2 = nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)
        self.hidden = nn.Linear(dim, dim)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.scores = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a score for each result, of shape (batch, results)."""
        x = torch.sign(x) * torch.log1p(x.abs())
        h = torch.relu(self.norm1(self.input(x).transpose(1, 2))).transpose(1, 2)
        h = torch.relu(self.norm2(self.hidden(h).transpose(1, 2))).transpose(1, 2)
        h = self.norm(h + self.attention(h, h, h, need_weights=False)[0])
        return self.scores(h).squeeze(-1)


def glorot(model: nn.Module) -> None:
    """Fill each matrix by Xavier's uniform, with zero biases, as Keras."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def ranked(step: int, seed: int = 263, count: int = 4000, batch: int = 32) -> Step:
    """Return lists of results, the one that was opened to be ranked first."""
    x, opened = searches(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: cross_entropy(output, opened[at])


# An option

DAYS = 8


def hedged(seed: int, count: int) -> Step:
    """Return prices that begin at 100, and the squared loss of who sold a call of 100 and hedged."""
    g = seeded(seed)
    returns = 0.06 * torch.randn(count, DAYS, generator=g) - 0.06**2 / 2
    prices = 100 * torch.exp(torch.cat([torch.zeros(count, 1), returns.cumsum(1)], dim=1))
    owed = torch.relu(prices[:, -1] - 100)
    return prices, lambda earned: ((earned - owed) ** 2).mean()


class Hedge(nn.Module):
    """A premium, and a network for each day: how much to hold, by the price and what is held."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.premium = nn.Parameter(torch.zeros(1))
        self.days = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, 1),
            )
            for _ in range(DAYS)
        )

    def forward(self, prices: torch.Tensor) -> torch.Tensor:
        """Return what is earned until the last day."""
        held = prices.new_zeros(len(prices), 1)
        earned = self.premium
        for day, network in enumerate(self.days):
            given = torch.cat([torch.log(prices[:, day, None] / 100), held], dim=1)
            held = network(given)
            earned = earned + held[:, 0] * (prices[:, day + 1] - prices[:, day])
        return earned


DECISIONS = {
    "DeepHit, patients": Task(
        DeepHit,
        survived,
        lambda: survived(0, HELD + 261, 256, 256),
        xavier_zero,
        "Lee et al. 2018, its code in TensorFlow: Xavier's uniform, zero biases",
    ),
    "oblivious trees, loans": Task(
        lambda: ObliviousTrees(loans(262, 4000)[0]),
        lent,
        lambda: lent(0, HELD + 262, 256, 256),
        None,
        "Popov et al. 2020, NODE's code: choices U(0, 1), thresholds from data, leaves N(0, 1)",
    ),
    "attentive ranking, search results": Task(
        Ranker,
        ranked,
        lambda: ranked(0, HELD + 263, 256, 256),
        glorot,
        "Qin et al. 2021 (DASALC) in TF-Ranking: Keras's defaults, Xavier's uniform, zero biases",
    ),
    "deep hedging, a call": Task(
        Hedge,
        lambda step: hedged(step, 256),
        lambda: hedged(HELD, 1024),
        None,
        "Buehler et al. 2019; pfhedge: torch's defaults",
    ),
}
